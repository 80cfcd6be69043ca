"""One user's terms in memory, and BM25 over them: exact, with the user's own statistics.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from services.memory.rarities import Rarities, counted_of, rarity
from services.memory.scoring import Scoring
from services.memory.scoring.lexical_kernel import COUNT_BITS, K1, PLACE_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.memory.neighbours import Neighbours

_B = 0.4
WINDOW_WEIGHT = 0.5
"""Of a message with its neighbours as one text, beside the message alone."""
_COUNT_BITS = np.uint64(COUNT_BITS)
_TERM_SHIFT = np.uint64(PLACE_BITS + COUNT_BITS)
_PLACES = np.uint64((1 << PLACE_BITS) - 1)
_REST = np.uint64((1 << (PLACE_BITS + COUNT_BITS)) - 1)


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
        fit, share = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=np.float32)
        spans = self._spans(terms)
        lengths = (spans[:, 1] - spans[:, 0]).tolist()
        if not any(lengths):
            return Match(fit, share)
        scoring = Scoring.of_this_machine()
        postings, around = self._postings, (standing.neighbours.before, standing.neighbours.after)
        # One place past the last stands for no message, which nothing touches.
        marks = np.zeros(count + 1, dtype=np.uint8)
        marks[count] = 1
        touched, ends = np.empty(3 * sum(lengths) + 1, dtype=np.int64), np.empty(len(terms), dtype=np.int64)
        scoring.touch(len(terms), postings, spans, *around, marks, touched, ends)
        rarities = [rarity(length, count) for length in lengths]
        together = [rarity(end - begin, count) for begin, end in pairwise([0, *ends.tolist()])]
        whole = sum(rarities)
        shares = np.array([[rare / whole for rare in rarities], together], dtype=np.float32)
        shares[1] *= np.float32(WINDOW_WEIGHT / whole)
        scales = standing.scales, standing.scales_together
        found, times = (touched, ends), np.zeros(count + 1, dtype=np.float32)
        scoring.weigh(len(terms), postings, spans, *around, *found, shares[0], shares[1], *scales, times, fit, share)
        return Match(fit, share)

    def _spans(self, terms: Sequence[int]) -> NDArray[np.int64]:
        """Returns of each term the first of its postings, one a message that has it, and the one past the last."""
        firsts = np.array(terms, dtype=np.uint64) << _TERM_SHIFT
        spans = np.empty((len(terms), 2), dtype=np.int64)
        spans[:, 0] = np.searchsorted(self._postings, firsts)
        spans[:, 1] = np.searchsorted(self._postings, firsts | _REST, side="right")
        return spans


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
    return lengths * np.float32(K1 * _B / mean) + np.float32(K1 * (1 - _B))
