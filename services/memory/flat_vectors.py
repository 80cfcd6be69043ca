"""A user's vectors as one array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from services.memory.scoring import Scoring
from services.memory.scoring.product_kernel import AT_ONCE
from services.memory.vectors import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROOM_SHARE = 8
"""Room for one in so many more rows is made when the room is used up."""


class FlatVectors(Vectors):
    """Rows one after another, in the order in which they came, each with zeros up to a whole number of `AT_ONCE`."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._width = row_width(dimension)
        # There may be room for more rows than there are: those that come one by one are not all moved each time.
        self._rows: NDArray[np.float16] = np.empty((0, self._width), dtype=np.float16)
        self._places: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        # Made when it is first needed.
        self._row_of: NDArray[np.int64] | None = None
        self._total: NDArray[np.float64] = np.zeros(dimension)

    @override
    def __len__(self) -> int:
        return len(self._places)

    @property
    @override
    def centre(self) -> NDArray[np.float32]:
        return (self._total / max(len(self), 1)).astype(np.float32)

    @property
    @override
    def size(self) -> int:
        return len(self) * (self._width * 2 + 16)

    @override
    def put(
        self, rows: NDArray[np.float16], places: NDArray[np.int64], total: NDArray[np.float64] | None = None
    ) -> None:
        self._total += sums_of(rows)[1] if total is None else total
        last = self._places.max(initial=-1)
        if places.min() > last:
            # What is all new has nothing to be looked for.
            self._append(rows, places)
            return
        at = np.full(len(places), -1, dtype=np.int64)
        within = places <= last
        at[within] = self._rows_of()[places[within]]
        had = at >= 0
        if had.any():
            self._total -= sums_of(self._rows[at[had], : self._dimension])[1]
            self._rows[at[had], : self._dimension] = rows[had]
        self._append(rows[~had], places[~had])

    @override
    def remove(self, places: NDArray[np.int64]) -> None:
        self._take_out(np.isin(self._places, places))

    @override
    def keep(self, kept: NDArray[np.bool_]) -> None:
        self._take_out(~kept[self._places])
        self._places = (np.cumsum(kept) - 1)[self._places]
        self._row_of = None

    @override
    def rows(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        return self._rows[self._rows_of()[places], : self._dimension]

    def held(self, count: int) -> tuple[NDArray[np.float16], NDArray[np.int64] | None]:
        """Returns all rows, and of so many places which is whose, -1 where there is none; None: each has its own."""
        rows = self._rows[: len(self)]
        if len(self) == count and np.array_equal(self._places, np.arange(count)):
            return rows, None
        row_of = self._rows_of()
        return rows, np.pad(row_of, (0, count - len(row_of)), constant_values=-1)

    def _rows_of(self) -> NDArray[np.int64]:
        """Returns the row of each place up to the last that has one: -1 where one has none."""
        row_of = self._row_of
        if row_of is None:
            row_of = np.full(1 + int(self._places.max(initial=-1)), -1, dtype=np.int64)
            row_of[self._places] = np.arange(len(self))
            self._row_of = row_of
        return row_of

    def _append(self, rows: NDArray[np.float16], places: NDArray[np.int64]) -> None:
        count = len(self)
        whole = count + len(rows)
        if not count and self._width == self._dimension and rows.flags.c_contiguous:
            self._rows = rows
        else:
            if whole > len(self._rows):
                roomy = np.zeros((whole + (whole // _ROOM_SHARE if count else 0), self._width), dtype=np.float16)
                roomy[:count] = self._rows[:count]
                self._rows = roomy
            self._rows[count:whole, : self._dimension] = rows
        self._places = np.concatenate([self._places, places]) if count else places
        self._row_of = None

    def _take_out(self, gone: NDArray[np.bool_]) -> None:
        if gone.any():
            held = self._rows[: len(self)]
            self._total -= sums_of(held[gone, : self._dimension])[1]
            self._rows = held[~gone]
            self._places = self._places[~gone]
            self._row_of = None


def sums_of(rows: NDArray[np.float16]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Returns the square of each row's length, and the sum of all rows."""
    count, dimension = rows.shape
    width = row_width(dimension)
    squares, totals = np.empty(count, dtype=np.float32), np.zeros(width)
    whole = np.pad(rows, ((0, 0), (0, width - dimension))) if width > dimension else np.ascontiguousarray(rows)
    Scoring.of_this_machine().sums(whole, count, width, squares, totals)
    return squares, totals[:dimension]


def row_width(dimension: int) -> int:
    """Returns how many numbers a row has that compiled code reads: those past the dimension are zeros."""
    return -(-dimension // AT_ONCE) * AT_ONCE
