"""How fast the places of a busy service become free, for telling who is refused when to come back."""

from __future__ import annotations

_SMOOTHING = 0.2
"""Weight of the latest interval in the mean."""


class Pace:
    """Mean seconds between two places becoming free while somebody waits for one. Times are those of one clock."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._since: float | None = None

    def wanted(self, now: float) -> None:
        """Notes that somebody has begun to wait: until `unwanted`, intervals count."""
        if self._since is None:
            self._since = now

    def freed(self, now: float) -> None:
        """Notes that a place has become free."""
        if self._since is None:
            return
        interval = now - self._since
        self._mean = interval if self._mean is None else self._mean + _SMOOTHING * (interval - self._mean)
        self._since = now

    def unwanted(self) -> None:
        """Notes that nobody waits any more."""
        self._since = None

    def seconds(self, now: float) -> float:
        """Returns the seconds that a place takes to become free: the mean, or longer where it already takes longer."""
        waited = 0.0 if self._since is None else now - self._since
        return max(self._mean or 0.0, waited)
