"""One user's terms in memory, as BM25 needs them: exact, with the user's own statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.memory.scoring import Scoring
from services.memory.scoring.word_kernel import COUNT_BITS, PLACE_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COUNT_BITS = np.uint64(COUNT_BITS)
_PLACES = np.uint64((1 << PLACE_BITS) - 1)


class LexicalIndex:
    """The terms of up to 16,777,216 messages, each known by its place: the order in which they were added.

    A posting is a number of 64 bits, 32 of term, 24 of place, 8 of how often. All are one array, the lowest first.
    """

    def __init__(self) -> None:
        self.postings: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        """One of each message for each term that it has."""
        self.lengths: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        """Words of each message."""

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self.postings.nbytes + self.lengths.nbytes

    def add(self, terms: NDArray[np.void], counts: NDArray[np.int64]) -> None:
        """Adds messages.

        Args:
            terms: What `pack_terms` gave for each, as `RECORD`s, one message's after another's.
            counts: How many of them are each message's.
        """
        first = len(self.lengths)
        new, lengths = np.empty(len(terms), dtype=np.uint64), np.empty(len(counts), dtype=np.float32)
        # Of records numpy makes a description in Python wherever it is asked where they are.
        records = terms.view(np.uint8)
        Scoring.of_this_machine().post(records, counts, len(counts), first, new, lengths)
        new.sort()
        if not first:
            self.postings, self.lengths = new, lengths
            return
        self.postings = np.insert(self.postings, np.searchsorted(self.postings, new), new)
        self.lengths = np.concatenate([self.lengths, lengths])

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Takes out the messages that are not marked; those left move up."""
        places = (self.postings >> _COUNT_BITS) & _PLACES
        left = kept[places]
        new_places = (np.cumsum(kept) - 1).astype(np.uint64)[places[left]]
        # Those left keep their order, and so do the postings.
        self.postings = (self.postings[left] & ~(_PLACES << _COUNT_BITS)) | (new_places << _COUNT_BITS)
        self.lengths = self.lengths[kept]
