"""A user's vectors in memory, in two forms behind one face: a flat array, and inverted lists for very many.

Either holds half floats, as the database does: nothing is lost.

The array is read whole by every search. From `LISTED_FROM` vectors on that takes longer than a search may, and
inverted lists (https://arxiv.org/abs/1702.08734) are read in part: those whose centres are nearest to the query. Both
give the similarities of chosen vectors exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import faiss
import numpy as np
from typing_extensions import override

from services.memory.half_floats import singles
from services.memory.scoring import Scoring
from services.memory.scoring.product_kernel import AT_ONCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

LISTED_FROM = 100_000
"""Vectors from which on lists are made: the array takes 4 ms to read there, and grows with them."""

_TRAINING_ROWS_A_LIST = 48
_PROBED_SHARE = 8
"""Of the lists, one in so many is read."""
_RETRAINED_AT = 4
"""Lists are made anew when there are so many times more vectors than they were made for."""
_AT_ONCE = 16_384
_ROOM_SHARE = 8
"""Room for one in so many more rows is made when the room is used up."""

_Parameters: Any = faiss.SearchParametersIVF  # its stubs lack its fields


class Vectors(Protocol):
    """Vectors of those messages that have one, each known by the message's place in its index."""

    def __len__(self) -> int: ...

    def put(self, rows: NDArray[np.float16], places: NDArray[np.int64]) -> None:
        """Gives unit rows, which are its own then, to places, which are different ones and may have had others."""

    def remove(self, places: NDArray[np.int64]) -> None:
        """Takes the vectors of places out, which stay without."""

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Takes the places out that are not marked, with their vectors; those left move up."""

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """Returns all rows, as half floats, in the order of their places, which are given."""

    def similarities(self, query: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the inner product with the vector of each of these places, which rise and have one; exactly."""

    @property
    def centre(self) -> NDArray[np.float32]:
        """Mean of the vectors: of those in lists, as `recentre` last found it. Zeros where there are none."""

    @property
    def size(self) -> int:
        """Bytes of memory."""


class FlatVectors(Vectors):
    """Rows one after another, in the order in which they came, each with zeros up to a whole number of `AT_ONCE`."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._width = _width(dimension)
        # There may be room for more rows than there are: those that come one by one are not all moved each time.
        self._rows: NDArray[np.float16] = np.empty((0, self._width), dtype=np.float16)
        self._places: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        # Both made when they are first needed.
        self._row_of: NDArray[np.int64] | None = None
        self._in_order = False
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
    def put(self, rows: NDArray[np.float16], places: NDArray[np.int64]) -> None:
        self._total += sums_of(rows)[1]
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

    @override
    def similarities(self, query: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(places):
            return np.empty(0, dtype=np.float32)
        return self._products(query, self._rows[self._rows_of()[places]])

    def all_similarities(self, query: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Returns the inner product with the vector of each of `count` places, 0 where there is none.

        Equal vectors have equal ones wherever they stand.
        """
        if not len(self):
            return np.zeros(count, dtype=np.float32)
        products = self._products(query, self._rows[: len(self)])
        row_of = self._rows_of()
        if self._in_order and len(row_of) == count:
            return products
        # One for no row, which the places have that are without.
        products = np.append(products, np.float32(0))
        found = np.zeros(count, dtype=np.float32)
        found[: len(row_of)] = products[row_of]
        return found

    def _rows_of(self) -> NDArray[np.int64]:
        """Returns the row of each place up to the last that has one: -1 where one has none."""
        row_of = self._row_of
        if row_of is None:
            row_of = np.full(1 + int(self._places.max()), -1, dtype=np.int64)
            numbers = np.arange(len(self))
            row_of[self._places] = numbers
            self._in_order = np.array_equal(row_of, numbers)
            # Last: another search may look for it meanwhile.
            self._row_of = row_of
        return row_of

    def _products(self, query: NDArray[np.float32], rows: NDArray[np.float16]) -> NDArray[np.float32]:
        products = np.empty(len(rows), dtype=np.float32)
        whole = np.zeros(self._width, dtype=np.float32)
        whole[: self._dimension] = query
        # Each row by itself: matrix products would sum some rows in another order than others.
        Scoring.of_this_machine().products(rows, len(rows), self._width, whole, products)
        return products

    def _append(self, rows: NDArray[np.float16], places: NDArray[np.int64]) -> None:
        count = len(self)
        whole = count + len(rows)
        if not count and self._width == self._dimension and rows.flags.c_contiguous and rows.flags.writeable:
            self._rows = rows
        else:
            if whole > len(self._rows):
                roomy = np.zeros((whole + (whole // _ROOM_SHARE if count else 0), self._width), dtype=np.float16)
                roomy[:count] = self._rows[:count]
                self._rows = roomy
            self._rows[count:whole, : self._dimension] = rows
        self._places = np.concatenate([self._places, places])
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
    width = _width(dimension)
    squares, totals = np.empty(count, dtype=np.float32), np.zeros(width)
    whole = np.pad(rows, ((0, 0), (0, width - dimension))) if width > dimension else np.ascontiguousarray(rows)
    Scoring.of_this_machine().sums(whole, count, width, squares, totals)
    return squares, totals[:dimension]


def _width(dimension: int) -> int:
    """Returns how many numbers a row has that compiled code reads."""
    return -(-dimension // AT_ONCE) * AT_ONCE


class ListedVectors(Vectors):
    """Rows in inverted lists, as half floats.

    Each place has a key, under which its vector is in the lists: places move up where something is taken out, and
    keys do not.

    Args:
        halves: Unit rows that the lists are made for; they are in them then.
        places: Of the rows, rising.
    """

    def __init__(self, halves: NDArray[np.float16], places: NDArray[np.int64]) -> None:
        count, dimension = int(halves.shape[0]), int(halves.shape[1])
        self._dimension = dimension
        self._made_for = count
        self._keys: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._next_key = 0
        self.recentre(halves)
        self._lists = lists = 1 << max(0, round(float(np.log2(max(1.0, count**0.5)))))
        self._probed = max(1, lists // _PROBED_SHARE)
        coarse = faiss.IndexFlatIP(dimension)
        self._faiss: Any = faiss.IndexIVFScalarQuantizer(
            coarse, dimension, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._faiss.by_residual = False  # the rows themselves, so that they are what they were
        # Some at equal distances are as good as some at random, and the same ones every time.
        sample = halves[:: max(1, count // (lists * _TRAINING_ROWS_A_LIST))]
        self._faiss.train(singles(sample))
        for start in range(0, count, _AT_ONCE):
            end = start + _AT_ONCE
            self.put(halves[start:end], places[start:end])

    @override
    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    @override
    def size(self) -> int:
        return len(self) * (self._dimension * 2 + 8) + len(self._keys) * 8 + self._lists * self._dimension * 4

    @property
    @override
    def centre(self) -> NDArray[np.float32]:
        return self._centre

    def recentre(self, halves: NDArray[np.float16]) -> None:
        """Takes the mean anew, of all rows."""
        self._centre: NDArray[np.float32] = halves.mean(axis=0, dtype=np.float32)

    @property
    def stale(self) -> bool:
        """Whether there are too many more vectors than the lists were made for."""
        return len(self) > _RETRAINED_AT * self._made_for

    @override
    def put(self, rows: NDArray[np.float16], places: NDArray[np.int64]) -> None:
        self.remove(places[places < len(self._keys)])
        self._cover(int(places.max()) + 1)
        self._faiss.add_with_ids(singles(rows), self._keys[places])

    @override
    def remove(self, places: NDArray[np.int64]) -> None:
        if len(places):
            selector, _bits = self._selector(self._keys[places])
            self._faiss.remove_ids(selector)

    @override
    def keep(self, kept: NDArray[np.bool_]) -> None:
        self._cover(len(kept))
        self.remove(np.flatnonzero(~kept))
        self._keys = self._keys[kept]

    @override
    def rows(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        lists, keys = self._faiss.invlists, self._keys[places]
        halves = np.empty((len(places), self._dimension), dtype=np.float16)
        for number in range(self._lists):
            count = lists.list_size(number)
            if count:
                ids = faiss.rev_swig_ptr(lists.get_ids(number), count)
                codes = faiss.rev_swig_ptr(lists.get_codes(number), count * self._dimension * 2)
                halves[np.searchsorted(keys, ids)] = codes.view(np.float16).reshape(count, -1)
        return halves

    def nearest(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Returns the places of about the nearest vectors, up to so many."""
        wanted = _Parameters(nprobe=self._probed)
        _, found = self._faiss.search(query[None], min(count, len(self)), params=wanted)
        places: NDArray[np.int64] = np.searchsorted(self._keys, found[0][found[0] >= 0])
        return places

    @override
    def similarities(self, query: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        keys = self._keys[places]
        selector, _bits = self._selector(keys)
        wanted = _Parameters(sel=selector, nprobe=self._lists)
        _, values, found = self._faiss.range_search(query[None], -np.inf, params=wanted)
        similar = np.empty(len(places), dtype=np.float32)
        similar[np.searchsorted(keys, found)] = values
        return similar

    def _cover(self, count: int) -> None:
        """Gives a key to each of the first `count` places that has none: keys rise with places."""
        more = count - len(self._keys)
        if more > 0:
            self._keys = np.concatenate([self._keys, np.arange(self._next_key, self._next_key + more)])
            self._next_key += more

    def _selector(self, keys: NDArray[np.int64]) -> tuple[Any, NDArray[np.uint8]]:
        """Returns what chooses these keys, and the memory that it reads, which has to be held as long."""
        chosen = np.zeros(self._next_key, dtype=np.bool_)
        chosen[keys] = True
        bits = np.packbits(chosen, bitorder="little")
        return faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)), bits
