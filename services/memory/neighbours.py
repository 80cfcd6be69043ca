"""Which message stood before and after which, as far as they are indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

REACH = 2
"""How far a message's surroundings go that are counted with it: what it answers, and what its author said before."""


class Neighbours:
    """Each message's neighbours in its conversation, messages known by their places in an index.

    A neighbour is the nearest one that is indexed: what was deleted, superseded or is empty stands between no two.

    Args:
        conversations: Each message's conversation, as a number from 0.
        sequences: Each message's place in its conversation.
    """

    BYTES_A_MESSAGE = 24

    def __init__(self, conversations: NDArray[np.int32], sequences: NDArray[np.int64]) -> None:
        count = len(conversations)
        order = np.lexsort((sequences, conversations))
        together = conversations[order[1:]] == conversations[order[:-1]]
        # One place past the last stands for no message, whose neighbours are none either.
        self.before: NDArray[np.int64] = np.full(count + 1, count, dtype=np.int64)
        self.after: NDArray[np.int64] = np.full(count + 1, count, dtype=np.int64)
        self.before[order[1:][together]] = order[:-1][together]
        self.after[order[:-1][together]] = order[1:][together]
        self.counts: tuple[NDArray[np.float32], ...] = tuple(self.sums(np.ones(count, dtype=np.float32), REACH))
        """How many messages stand at each distance, from 1 to `REACH`, from each."""

    def sum(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns, for each message, what its neighbours have together; one without any has 0."""
        return next(self.sums(values, 1))

    def sums(self, values: NDArray[np.float32], reach: int) -> Iterator[NDArray[np.float32]]:
        """Yields, for each message, what those have together that stand one from it, then two, up to so many."""
        earlier = np.empty(len(values) + 1, dtype=np.float32)
        earlier[:-1], earlier[-1] = values, 0
        later = earlier
        for _ in range(reach):
            earlier, later = earlier.take(self.before), later.take(self.after)
            yield (earlier + later)[:-1]

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
