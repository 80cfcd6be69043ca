"""What hits are ranked by, and their order.

A message's score is the sum of three parts: how close its meaning is to the query's, how well it has the query's
words, and what holds whatever is asked. Similarities are in standard deviations over all messages of the user, since
every embedder has a scale of its own; the other parts are weighed to fit that. A filter only takes messages out of the
ranking of all; it moves none of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.memory.scoring.tables import Weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEIGHBOUR_WEIGHTS = (0.2, 0.1)
"""Of the similarity of each message that stands next to a message, and next but one, where its own has weight 1."""
COMMON_WEIGHT = 0.5
"""Of similarity to what all messages have in common, which is taken off: what says little is near to everything."""
WINDOW_WEIGHT = 0.5
"""Of words in a message with its neighbours as one text, beside those in the message alone."""
LEXICAL_WEIGHT = 3.5
AUTHOR_WEIGHT = 1.0
"""Of being said by whom the query names."""
UNTRUSTED_DENSE_WEIGHT = 0.25
"""Of similarity, where the embedder was not made for the query's language: beside 1."""
FULLNESS_WEIGHT = 1.2
LONG_ENOUGH = 32
"""Words, author and date among them, from which on a message is not preferred for its length: a long reply of a model
is no better evidence than a sentence of a person, and either is better than an exclamation."""
RECENCY_WEIGHT = 1.0
_LEAST_DEVIATION = 1e-6
"""Scores that vary less than rounding does are taken for equal."""


@dataclass(frozen=True, slots=True)
class Recency:
    """How newer messages are preferred. Times are nanoseconds."""

    now_ns: int
    half_life_ns: int


def weights(usual: float, dense_weight: float, spread: tuple[float, float] | None) -> tuple[float, ...]:
    """Returns what compiled code weighs with, in the order of `Weight`.

    Args:
        usual: Mean of the similarities of all that have a vector.
        dense_weight: How much similarity counts: 1, or less where the embedder cannot be trusted with the query.
        spread: Mean and deviation of the similarities of all that have a vector, their surroundings' included, where
            not all are known; None: all are.
    """
    mean, deviation = spread or (0.0, 0.0)
    value_of = {
        Weight.USUAL: usual,
        Weight.NEXT: NEIGHBOUR_WEIGHTS[0],
        Weight.NEXT_BUT_ONE: NEIGHBOUR_WEIGHTS[1],
        Weight.DENSE: dense_weight,
        Weight.WINDOW: WINDOW_WEIGHT,
        Weight.LEXICAL: LEXICAL_WEIGHT,
        Weight.AUTHOR: AUTHOR_WEIGHT,
        Weight.LEAST_DEVIATION: _LEAST_DEVIATION,
        Weight.GIVEN: float(spread is not None),
        Weight.MEAN: mean,
        Weight.DEVIATION: deviation,
    }
    return tuple(value_of[weight] for weight in Weight)


def prior(fullness: NDArray[np.float32], times: NDArray[np.int64], recency: Recency | None) -> NDArray[np.float32]:
    """Returns of each message what holds whatever is asked.

    Args:
        fullness: As `fullness` gives it.
        times: When each was said, in nanoseconds since 1970.
        recency: None: age does not count.
    """
    if recency is None:
        return fullness
    age = np.maximum(recency.now_ns - times, 0) / recency.half_life_ns
    weighed: NDArray[np.float32] = fullness + np.float32(RECENCY_WEIGHT) * np.exp2(-age).astype(np.float32)
    return weighed


def sought(vector: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns what messages are to be similar to: the query, less of what they have in common.

    Args:
        vector: The query's.
        centre: Mean of the messages' vectors.
    """
    return vector - np.float32(COMMON_WEIGHT) * centre


def fullness(rarities: NDArray[np.float32], lengths: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weighs how much more than the others each message says, where it is e times as much as they on average, as 1.

    Not in standard deviations: of a few messages that say nearly the same amount, none is by far the fullest.

    Args:
        rarities: Of each message, as `LexicalIndex.rarities` gives it.
        lengths: Words of each. Of one that is longer than long enough, as much counts as one has that is so long.
    """
    said = np.log1p(rarities * np.minimum(1, LONG_ENOUGH / np.maximum(lengths, 1)).astype(np.float32))
    above = said - said.mean(dtype=np.float64).astype(np.float32) if len(said) else said
    return np.float32(FULLNESS_WEIGHT) * above
