"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 15.0


class Backoff:
    """Waits that double, each shortened by up to half by chance, so that many who wait do not come back as one."""

    def __init__(self) -> None:
        self._next = _FIRST_SECONDS

    def succeeded(self) -> None:
        """Begins anew."""
        self._next = _FIRST_SECONDS

    def seconds(self, at_least: float | None = None) -> float:
        """Returns how long to wait after one more failure; `at_least`: what was asked for."""
        wait = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._next = min(2 * self._next, _LONGEST_SECONDS)
        return max(wait, at_least or 0.0)
