"""Which message stood before and after which, as far as they are indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Neighbours:
    """Each message's neighbours in its conversation, messages known by their places in an index.

    A neighbour is the nearest one that is indexed: what was deleted, superseded or is empty stands between no two.

    Args:
        conversations: Each message's conversation, as a number from 0.
        sequences: Each message's place in its conversation.
    """

    BYTES_A_MESSAGE = 20

    def __init__(self, conversations: NDArray[np.int32], sequences: NDArray[np.int64]) -> None:
        count = len(conversations)
        order = np.lexsort((sequences, conversations))
        together = conversations[order[1:]] == conversations[order[:-1]]
        # One place past the last stands for no message.
        self.before: NDArray[np.int64] = np.full(count, count, dtype=np.int64)
        self.after: NDArray[np.int64] = np.full(count, count, dtype=np.int64)
        self.before[order[1:][together]] = order[:-1][together]
        self.after[order[:-1][together]] = order[1:][together]
        self.count: NDArray[np.float32] = (self.before < count).astype(np.float32) + (self.after < count)

    def sum(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns, for each message, what its neighbours have together; one without any has 0."""
        padded = np.empty(len(values) + 1, dtype=np.float32)
        padded[:-1], padded[-1] = values, 0
        total: NDArray[np.float32] = padded.take(self.before)
        total += padded.take(self.after)
        return total

    def of(self, place: int, how_many: int) -> tuple[list[int], list[int]]:
        """Returns the places of up to so many messages before and after one, oldest first."""
        if not how_many:
            return [], []
        return self._walk(self.before, place, how_many)[::-1], self._walk(self.after, place, how_many)

    @staticmethod
    def _walk(step: NDArray[np.int64], place: int, how_many: int) -> list[int]:
        found: list[int] = []
        while len(found) < how_many and (place := int(step[place])) < len(step):
            found.append(place)
        return found
