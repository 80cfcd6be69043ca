"""One user's terms in memory, and BM25 over them: exact, with the user's own statistics.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from services.memory.rarities import Rarities, counted_of, rarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.memory.neighbours import Neighbours

_K1 = 1.2
_B = 0.4
WINDOW_WEIGHT = 0.5
"""Of a message with its neighbours as one text, beside the message alone."""
_COUNT_BITS = np.uint64(8)
_PLACE_BITS = np.uint64(24)
_TERM_SHIFT = _PLACE_BITS + _COUNT_BITS
_PLACES = np.uint64((1 << 24) - 1)
_COUNTS = np.uint64((1 << 8) - 1)


@dataclass(frozen=True, slots=True)
class Match:
    """How well each message of an index has the terms of a query: arrays in order of places.

    Attributes:
        fit: BM25 of the message, and with less weight of the message with its neighbours as one text, in units of
            what a message of mean length gets that has every term once. Terms that nobody has count too: where
            little of a query is found, words decide little.
        share: Of the query's terms, weighted by how rare they are with the user, the message's share: 0 to 1.
    """

    fit: NDArray[np.float32]
    share: NDArray[np.float32]


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

    Postings are one sorted array of 64-bit numbers: 32 bits of term, 24 of place, 8 of how often.
    """

    def __init__(self) -> None:
        self._postings: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self.lengths: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        """Words of each message."""
        self._rarities: Rarities | None = None
        self._said: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self._postings.nbytes + self.lengths.nbytes + len(self.lengths) * Rarities.BYTES_A_MESSAGE

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
        new = _by_term(new)
        self._postings = np.insert(self._postings, np.searchsorted(self._postings, new), new) if first else new

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Takes out the messages that are not marked; those left move up."""
        places = (self._postings >> _COUNT_BITS) & _PLACES
        left = kept[places]
        new_places = (np.cumsum(kept) - 1).astype(np.uint64)[places[left]]
        # Those left keep their order, and so do the postings.
        self._postings = (self._postings[left] & ~(_PLACES << _COUNT_BITS)) | (new_places << _COUNT_BITS)
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
            places = self._postings.astype(np.uint32)
            places >>= np.uint32(_COUNT_BITS)
            terms = (self._postings >> _TERM_SHIFT).astype(np.uint32)
            self._rarities, self._said = Rarities.of(terms, places.astype(np.int64), len(self.lengths))
        return self._said

    def match(self, terms: Sequence[int], standing: Standing) -> Match:
        """Scores every message; only those that have a term, or a neighbour that has, take any time.

        Args:
            terms: Different ones.
            standing: Of the same messages.
        """
        count = len(self.lengths)
        before, after = standing.neighbours.before, standing.neighbours.after
        # One place past the last stands for no message.
        fit, share = np.zeros(count + 1, dtype=np.float32), np.zeros(count + 1, dtype=np.float32)
        times, near = np.zeros(count + 1, dtype=np.float32), np.zeros(count + 1, dtype=np.bool_)
        whole = 0.0
        for term in terms:
            found = self._postings_of(term)
            rare = rarity(len(found), count)
            whole += rare
            if len(found):
                places = ((found >> _COUNT_BITS) & _PLACES).astype(np.int64)
                times[places] = found & _COUNTS
                fit[places] += np.float32(rare) * _saturated(times[places], standing.scales[places])
                share[places] += np.float32(rare)
                near[places] = near[before[places]] = near[after[places]] = True
                touched = np.flatnonzero(near[:-1])
                together = times[touched] + times[before[touched]] + times[after[touched]]
                weight = np.float32(WINDOW_WEIGHT * rarity(len(touched), count))
                fit[touched] += weight * _saturated(together, standing.scales_together[touched])
                times[places] = 0
                near[touched] = near[-1] = False
        if whole:
            fit /= np.float32(whole)
            share /= np.float32(whole)
        return Match(fit[:-1], share[:-1])

    def _postings_of(self, term: int) -> NDArray[np.uint64]:
        """Returns a term's postings, one a message that has it."""
        first = np.uint64(term) << _TERM_SHIFT
        last = first | (_PLACES << _COUNT_BITS) | _COUNTS
        start = np.searchsorted(self._postings, first)
        return self._postings[start : np.searchsorted(self._postings, last, side="right")]


def _by_term(postings: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns postings that are in order of place in order of term, and of place within each.

    By half of the term's bits, then by the others, each without disturbing what is equal: of 16 bits numpy does that by
    counting, in a third of the time that it takes to compare.
    """
    for bits in (_TERM_SHIFT, _TERM_SHIFT + np.uint64(16)):
        postings = postings[np.argsort((postings >> bits).astype(np.uint16), kind="stable")]
    return postings


def _scales(lengths: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns how many times a text of each length has to have a term for half of the most weight."""
    mean = max(float(lengths.mean()), 1.0) if len(lengths) else 1.0
    return lengths * np.float32(_K1 * _B / mean) + np.float32(_K1 * (1 - _B))


def _saturated(times: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns BM25's weight of a term that texts of these scales have so often."""
    return times * np.float32(_K1 + 1) / (times + scales)
