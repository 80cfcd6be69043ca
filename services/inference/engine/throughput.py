"""How many tokens were generated lately."""

from __future__ import annotations

import threading
import time
from collections import deque

WINDOW_SECONDS = 10.0


class Throughput:
    """Tokens a second over the last ten seconds. Written on one thread, read on another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: deque[tuple[float, int]] = deque()
        self._total = 0

    def note(self, tokens: int) -> None:
        """Counts the tokens of a step that has just ended."""
        with self._lock:
            self._steps.append((time.monotonic(), tokens))
            self._total += tokens
            self._forget()

    def tokens_per_second(self) -> float:
        """Returns the mean over the window."""
        with self._lock:
            self._forget()
            return self._total / WINDOW_SECONDS

    def _forget(self) -> None:
        oldest = time.monotonic() - WINDOW_SECONDS
        while self._steps and self._steps[0][0] < oldest:
            self._total -= self._steps.popleft()[1]
