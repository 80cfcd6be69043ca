"""One user's terms in memory, as BM25 needs them: exact, with the user's own statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from services.memory.rarities import Rarities, counted_of
from services.memory.scoring.word_kernel import COUNT_BITS, K1, PLACE_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.memory.neighbours import Neighbours

_B = 0.4
_COUNT_BITS = np.uint64(COUNT_BITS)
_TERM_SHIFT = np.uint64(PLACE_BITS + COUNT_BITS)
_PLACES = np.uint64((1 << PLACE_BITS) - 1)


@dataclass(frozen=True, slots=True)
class Standing:
    """What of an index's words holds for every query: arrays in order of places.

    Attributes:
        neighbours: Of the messages.
        scales: How many times each message has to have a term for half of the most weight.
        scales_together: Likewise, each message with its neighbours as one text.
    """

    neighbours: Neighbours
    scales: NDArray[np.float32]
    scales_together: NDArray[np.float32]

    BYTES_A_MESSAGE: ClassVar[int] = 8


class LexicalIndex:
    """The terms of up to 16,777,216 messages, each known by its place: the order in which they were added.

    A posting is a number of 64 bits, 32 of term, 24 of place, 8 of how often. All are one array, the lowest first.
    """

    def __init__(self) -> None:
        self.postings: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        """One of each message for each term that it has."""
        self.lengths: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        """Words of each message."""
        self._rarities: Rarities | None = None
        self._said: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self.postings.nbytes + self.lengths.nbytes + len(self.lengths) * Rarities.BYTES_A_MESSAGE

    def add(self, terms: NDArray[np.void], counts: NDArray[np.int64]) -> None:
        """Adds messages.

        Args:
            terms: What `pack_terms` gave for each, as `RECORD`s, one message's after another's.
            counts: How many of them are each message's.
        """
        first = len(self.lengths)
        places = np.repeat(np.arange(len(counts)), counts)
        lengths = np.bincount(places, weights=terms["count"], minlength=len(counts))
        self.lengths = np.concatenate([self.lengths, lengths.astype(np.float32)])
        if self._rarities and self._said is not None and self._rarities.counted == counted_of(len(self.lengths)):
            self._said = np.append(self._said, self._rarities.said(terms["term"], places, len(counts)))
        else:
            self._said = None
        new = terms["term"].astype(np.uint64) << _TERM_SHIFT
        new |= (places + first).astype(np.uint64) << _COUNT_BITS
        new |= terms["count"]
        new.sort()
        self.postings = np.insert(self.postings, np.searchsorted(self.postings, new), new) if first else new

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Takes out the messages that are not marked; those left move up."""
        places = (self.postings >> _COUNT_BITS) & _PLACES
        left = kept[places]
        new_places = (np.cumsum(kept) - 1).astype(np.uint64)[places[left]]
        # Those left keep their order, and so do the postings.
        self.postings = (self.postings[left] & ~(_PLACES << _COUNT_BITS)) | (new_places << _COUNT_BITS)
        self.lengths = self.lengths[kept]
        self._said = None

    def standing(self, neighbours: Neighbours) -> Standing:
        """Returns what every search needs of the messages' lengths.

        Args:
            neighbours: Of the same messages.
        """
        together = self.lengths + neighbours.sum(self.lengths)
        return Standing(neighbours, _scales(self.lengths), _scales(together))

    def rarities(self) -> NDArray[np.float32]:
        """Returns of each message how much its words say, see `Rarities.said`."""
        if self._said is None:
            places = self.postings.astype(np.uint32)
            places >>= np.uint32(_COUNT_BITS)
            terms = (self.postings >> _TERM_SHIFT).astype(np.uint32)
            self._rarities, self._said = Rarities.of(terms, places.astype(np.int64), len(self.lengths))
        return self._said


def _scales(lengths: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns how many times a text of each length has to have a term for half of the most weight."""
    mean = max(float(lengths.mean()), 1.0) if len(lengths) else 1.0
    return lengths * np.float32(K1 * _B / mean) + np.float32(K1 * (1 - _B))
