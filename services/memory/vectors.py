"""A user's vectors in memory, in two forms behind one face: a flat array, and inverted lists for very many.

Either holds half floats, as the database does: nothing is lost.

The array is read whole by every search. From `LISTED_FROM` vectors on that takes longer than a search may, and
inverted lists are read in part: those whose centres are nearest to the query. Similarities of what either finds are
exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LISTED_FROM = 100_000
"""Vectors from which on lists are made: the array takes 4 ms to read there, and grows with them."""


class Vectors(Protocol):
    """Vectors of those messages that have one, each known by the message's place in its index."""

    def __len__(self) -> int: ...

    def put(
        self, rows: NDArray[np.float16], places: NDArray[np.int64], total: NDArray[np.float64] | None = None
    ) -> None:
        """Gives unit rows, which are its own then, to places, which are different ones and may have had others.

        Args:
            rows: At least one.
            places: Of each.
            total: Their sum, where that is known.
        """

    def remove(self, places: NDArray[np.int64]) -> None:
        """Takes the vectors of places out, which stay without."""

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Takes the places out that are not marked, with their vectors; those left move up."""

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """Returns all rows, as half floats, in the order of their places, which are given."""

    @property
    def centre(self) -> NDArray[np.float32]:
        """Mean of the vectors: of those in lists, as `recentre` last found it. Zeros where there are none."""

    @property
    def size(self) -> int:
        """Bytes of memory."""
