"""A user's vectors in inverted lists (https://arxiv.org/abs/1702.08734)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from typing_extensions import override

from services.memory.half_floats import singles
from services.memory.vectors import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAINING_ROWS_A_LIST = 48
_PROBED_SHARE = 8
"""Of the lists, one in so many is read."""
_RETRAINED_AT = 4
"""Lists are made anew when there are so many times more vectors than they were made for."""
_AT_ONCE = 16_384

_Parameters: Any = faiss.SearchParametersIVF  # its stubs lack its fields


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
    def put(
        self, rows: NDArray[np.float16], places: NDArray[np.int64], total: NDArray[np.float64] | None = None
    ) -> None:
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

    def similarities(self, query: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the inner product with the vector of each of these places, which rise and have one; exactly."""
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
