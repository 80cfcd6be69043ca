"""What a service that is loading does at the moment, for its log."""

from __future__ import annotations

import threading


class Progress:
    """The step that is under way and how far it is. Written on any thread, read on another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step = "starting"
        self._done = 0
        self._total = 0

    def begin(self, step: str) -> None:
        """Enters a step: `downloading google/gemma-3-1b-it`."""
        with self._lock:
            self._step, self._done, self._total = step, 0, 0

    def reach(self, done: int, total: int) -> None:
        """Notes how many bytes of how many are done of the step under way; a total of 0 is not known."""
        with self._lock:
            self._done, self._total = done, total

    def describe(self) -> str:
        """Returns the step, with what is done of it where that is known."""
        with self._lock:
            if self._total > 0:
                share = min(100, 100 * self._done // self._total)
                return f"{self._step}: {share} % of {self._total / 1e6:.0f} MB"
            return f"{self._step}: {self._done / 1e6:.0f} MB" if self._done else self._step
