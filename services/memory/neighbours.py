"""Which message stood before and after which, as far as they are indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

REACH = 2
"""How far a message's surroundings go that are counted with it: what it answers, and what its author said before."""


class Neighbours:
    """Each message's neighbours in its conversation, messages known by their places in an index.

    A neighbour is the nearest one that is indexed: what was deleted, superseded or is empty stands between no two.

    Args:
        before: Of each message, what stands before it. One place past the last stands for no message, whose neighbours
            are none either.
        after: Likewise.
    """

    def __init__(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        self.before = before
        self.after = after

    def around(self, places: NDArray[np.int64], reach: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yields what stands one before and one after each of these places, then two, up to so many.

        Where nothing does, that is the place past the last.
        """
        earlier = later = places
        for _ in range(reach):
            earlier, later = self.before[earlier], self.after[later]
            yield earlier, later

    def of(self, place: int, how_many: int) -> tuple[list[int], list[int]]:
        """Returns the places of up to so many messages before and after one, oldest first."""
        if not how_many:
            return [], []
        return self._walk(self.before, place, how_many)[::-1], self._walk(self.after, place, how_many)

    @staticmethod
    def _walk(step: NDArray[np.int64], place: int, how_many: int) -> list[int]:
        found: list[int] = []
        while len(found) < how_many and (place := int(step[place])) < len(step) - 1:
            found.append(place)
        return found
