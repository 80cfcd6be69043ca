"""A user's vectors in memory, in two forms behind one face: a flat index, and inverted lists for very many.

The flat index is read whole by every search. From `LISTED_FROM` vectors on that takes longer than a search may, and
inverted lists (https://arxiv.org/abs/1702.08734) are read in part: those whose centres are nearest to the query. Both
give the similarities of chosen vectors exactly. Lists hold half floats, as the database does: nothing is lost to
quantization, and a vector takes half of what it takes in the flat index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import faiss
import numpy as np
from typing_extensions import override

if TYPE_CHECKING:
    from numpy.typing import NDArray

LISTED_FROM = 100_000
"""Vectors from which on lists pay: the flat index takes 9 ms to read there, and grows with them."""

_TRAINING_ROWS_A_LIST = 48
_PROBED_SHARE = 8
"""Of the lists, one in so many is read."""
_RETRAINED_AT = 4
"""Lists are made anew when there are so many times more vectors than they were made for."""
_ENCODED_AT_ONCE = 16_384

_Parameters: Any = faiss.SearchParametersIVF  # its stubs lack its fields


class Vectors(Protocol):
    """Vectors of those messages that have one, in order of places, each known by its position in the log as well."""

    def __len__(self) -> int: ...

    def add(self, rows: NDArray[np.float32], positions: NDArray[np.int64]) -> None:
        """Adds unit rows, their positions rising."""

    def keep(self, kept: NDArray[np.bool_], positions: NDArray[np.int64]) -> None:
        """Takes out the vectors that are not marked. `positions` are those of all before."""

    @property
    def size(self) -> int:
        """Bytes of memory."""


class FlatVectors(Vectors):
    """Rows one after another, in single precision."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._faiss: Any = faiss.IndexFlatIP(dimension)  # its stubs lack what scores chosen vectors

    @override
    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    @override
    def size(self) -> int:
        return len(self) * self._dimension * 4

    @override
    def add(self, rows: NDArray[np.float32], positions: NDArray[np.int64]) -> None:
        self._faiss.add(rows)

    @override
    def keep(self, kept: NDArray[np.bool_], positions: NDArray[np.int64]) -> None:
        gone = np.packbits(~kept, bitorder="little")
        self._faiss.remove_ids(faiss.IDSelectorBitmap(len(gone), faiss.swig_ptr(gone)))

    def similarities(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the inner product with each vector, of which equal ones give equal results wherever they stand."""
        count = len(self)
        places = np.arange(count, dtype=np.int64)
        found = np.empty(count, dtype=np.float32)
        if not count:
            return found
        self._faiss.compute_distance_subset(
            1, faiss.swig_ptr(query), count, faiss.swig_ptr(found), faiss.swig_ptr(places)
        )
        return found

    def rows(self) -> NDArray[np.float16]:
        """Returns all rows, as half floats."""
        count = len(self)
        halves = np.empty((count, self._dimension), dtype=np.float16)
        for start in range(0, count, _ENCODED_AT_ONCE):
            end = min(start + _ENCODED_AT_ONCE, count)
            halves[start:end] = self._faiss.reconstruct_n(start, end - start)
        return halves


class ListedVectors(Vectors):
    """Rows in inverted lists, as half floats.

    Args:
        halves: Unit rows that the lists are made for; they are in them then.
        positions: Of the rows, rising.
    """

    def __init__(self, halves: NDArray[np.float16], positions: NDArray[np.int64]) -> None:
        count, dimension = int(halves.shape[0]), int(halves.shape[1])
        self._dimension = dimension
        self._made_for = count
        self._last_position = 0
        self._lists = lists = 1 << max(0, round(float(np.log2(max(1.0, count**0.5)))))
        self._probed = max(1, lists // _PROBED_SHARE)
        coarse = faiss.IndexFlatIP(dimension)
        self._faiss: Any = faiss.IndexIVFScalarQuantizer(
            coarse, dimension, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._faiss.by_residual = False  # the rows themselves, so that they are what they were
        # Some at equal distances are as good as some at random, and the same ones every time.
        sample = halves[:: max(1, count // (lists * _TRAINING_ROWS_A_LIST))]
        self._faiss.train(sample.astype(np.float32))
        for start in range(0, count, _ENCODED_AT_ONCE):
            end = start + _ENCODED_AT_ONCE
            self.add(halves[start:end].astype(np.float32), positions[start:end])

    @override
    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    @override
    def size(self) -> int:
        return len(self) * (self._dimension * 2 + 8) + self._lists * self._dimension * 4

    @property
    def stale(self) -> bool:
        """Whether there are too many more vectors than the lists were made for."""
        return len(self) > _RETRAINED_AT * self._made_for

    @override
    def add(self, rows: NDArray[np.float32], positions: NDArray[np.int64]) -> None:
        self._faiss.add_with_ids(rows, positions)
        self._last_position = int(positions[-1])

    @override
    def keep(self, kept: NDArray[np.bool_], positions: NDArray[np.int64]) -> None:
        self._faiss.remove_ids(self._selector(positions[~kept])[0])

    def nearest(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Returns the positions of about the nearest vectors, up to so many."""
        wanted = _Parameters(nprobe=self._probed)
        _, found = self._faiss.search(query[None], min(count, len(self)), params=wanted)
        positions: NDArray[np.int64] = found[0][found[0] >= 0]
        return positions

    def similarities(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the inner product with each of the vectors at these positions, which rise; exactly."""
        selector, _bits = self._selector(positions)
        wanted = _Parameters(sel=selector, nprobe=self._lists)
        _, values, found = self._faiss.range_search(query[None], -np.inf, params=wanted)
        similar = np.empty(len(positions), dtype=np.float32)
        similar[np.searchsorted(positions, found)] = values
        return similar

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float16]:
        """Returns all rows in the order of their positions, which are given."""
        lists = self._faiss.invlists
        halves = np.empty((len(positions), self._dimension), dtype=np.float16)
        for number in range(self._lists):
            count = lists.list_size(number)
            if count:
                ids = faiss.rev_swig_ptr(lists.get_ids(number), count)
                codes = faiss.rev_swig_ptr(lists.get_codes(number), count * self._dimension * 2)
                halves[np.searchsorted(positions, ids)] = codes.view(np.float16).reshape(count, -1)
        return halves

    def _selector(self, positions: NDArray[np.int64]) -> tuple[Any, NDArray[np.uint8]]:
        """Returns what chooses these positions, and the memory that it reads."""
        chosen = np.zeros(self._last_position + 1, dtype=np.bool_)
        chosen[positions] = True
        bits = np.packbits(chosen, bitorder="little")
        return faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)), bits
