"""How rare a user's words are, and how much that lets each message say.

Every message changes how rare all words are, a little; among many messages, next to nothing. So words are counted anew
only now and then, and a message that comes in between is measured by the last count. When that was is told by how many
messages there are: an index that grew has what one has that was loaded whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COUNTS_A_DOUBLING = 32
"""So often words are counted anew while messages become twice as many; up to so many messages, with each of them."""


@dataclass(frozen=True, slots=True)
class Rarities:
    """One count of all words.

    Attributes:
        counted: How many messages were counted: the first ones.
        terms: Different ones, rising.
        squares: Of each term's rarity.
    """

    counted: int
    terms: NDArray[np.uint32]
    squares: NDArray[np.float64]

    BYTES_A_MESSAGE: ClassVar[int] = 4
    """What is kept of each, beside the words, of which people have few."""

    @classmethod
    def of(
        cls, terms: NDArray[np.uint32], places: NDArray[np.int64], count: int
    ) -> tuple[Rarities, NDArray[np.float32]]:
        """Counts, and returns beside that what each message says, as `said` does.

        Args:
            terms: Of each posting, rising.
            places: Of each posting.
            count: How many messages there are.
        """
        counted = counted_of(count)
        starts = np.append(0, np.flatnonzero(terms[1:] != terms[:-1]) + 1)[: len(terms)]
        lengths = np.diff(starts, append=len(terms))
        having = lengths if counted == count else np.add.reduceat(places < counted, starts, dtype=np.int64)
        squares = rarity(having, counted) ** 2
        sums = np.bincount(places, weights=np.repeat(squares, lengths), minlength=count)
        return cls(counted, terms[starts], squares), sums.astype(np.float32)

    def said(self, terms: NDArray[np.uint32], places: NDArray[np.int64], count: int) -> NDArray[np.float32]:
        """Returns of each of so many messages the rarities of its different terms, squared and summed.

        What everybody says all the time adds next to nothing, and a rare word more than two that are half as rare.
        """
        at = np.minimum(np.searchsorted(self.terms, terms), max(len(self.terms) - 1, 0))
        squares = np.full(len(terms), rarity(0, self.counted) ** 2)
        if len(self.terms):
            known = self.terms[at] == terms
            squares[known] = self.squares[at[known]]
        return np.bincount(places, weights=squares, minlength=count).astype(np.float32)


def counted_of(count: int) -> int:
    """Returns how many of so many messages were there at the last count."""
    return count - count % max(1, (1 << count.bit_length()) // 2 // _COUNTS_A_DOUBLING)


@overload
def rarity(having: int, count: int) -> float: ...
@overload
def rarity(having: NDArray[np.int64], count: int) -> NDArray[np.float64]: ...
def rarity(having: int | NDArray[np.int64], count: int) -> float | NDArray[np.float64]:
    """Returns how rare a term is that so many of all messages have."""
    share = (count - having + 0.5) / (having + 0.5)
    # Of a single number numpy takes ten times as long.
    return math.log1p(share) if isinstance(share, float) else np.log1p(share)
