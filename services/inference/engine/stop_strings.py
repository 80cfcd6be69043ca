"""Ends a reply at the first stop string, wherever token borders fall.

Text is let out as soon as no stop string can begin in it: what is held back is the longest end of the text that
begins a stop string, so nothing of one is ever let out and nothing else is held.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """What may be let out, and the stop string that was found after it, if one was."""

    text: str
    stop: str | None = None


class StopStrings:
    """Watches one reply.

    Of several stop strings the one that is complete first ends the reply; of those complete at the same character,
    the longest, which begins first.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = sorted(stops, key=len, reverse=True)
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    @property
    def held(self) -> int:
        """Characters held back."""
        return len(self._held)

    def feed(self, text: str) -> Match:
        """Takes more text and returns what may be let out of it and of what was held before."""
        if not self._stops:
            return Match(text)
        seen = self._held + text
        found = self._first_complete(seen, len(self._held))
        if found is not None:
            begin, stop = found
            self._held = ""
            return Match(seen[:begin], stop)
        keep = self._undecided(seen)
        self._held = seen[len(seen) - keep :]
        return Match(seen[: len(seen) - keep])

    def end(self) -> str:
        """Returns what is still held: the reply ended otherwise, so it is ordinary text."""
        held, self._held = self._held, ""
        return held

    def _first_complete(self, seen: str, old: int) -> tuple[int, str] | None:
        best: tuple[int, int, str] | None = None
        for stop in self._stops:
            # A match that ends within the old text would have been found when that was fed.
            begin = seen.find(stop, max(0, old - len(stop) + 1))
            if begin >= 0 and (best is None or (begin + len(stop), begin) < best[:2]):
                best = (begin + len(stop), begin, stop)
        return None if best is None else (best[1], best[2])

    def _undecided(self, seen: str) -> int:
        for length in range(min(len(seen), self._longest - 1), 0, -1):
            ending = seen[-length:]
            if any(stop.startswith(ending) for stop in self._stops):
                return length
        return 0
