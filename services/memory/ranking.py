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
RECENCY_WEIGHT = 1.0
_LEAST_DEVIATION = 1e-6
"""Scores that vary less than rounding does are taken for equal."""


@dataclass(frozen=True, slots=True)
class Recency:
    """How newer messages are preferred. Times are nanoseconds."""

    now_ns: int
    half_life_ns: int


def weigh(weights: NDArray[np.float32], usual: float, dense_weight: float, spread: tuple[float, float] | None) -> None:
    """Sets what compiled code weighs with.

    Args:
        weights: Out: a number for each `Weight`.
        usual: Mean of the similarities of all that have a vector.
        dense_weight: How much similarity counts: 1, or less where the embedder cannot be trusted with the query.
        spread: Mean and deviation of the similarities of all that have a vector, their surroundings' included, where
            not all are known; None: all are.
    """
    weights[Weight.USUAL] = usual
    weights[Weight.NEXT], weights[Weight.NEXT_BUT_ONE] = NEIGHBOUR_WEIGHTS
    weights[Weight.DENSE] = dense_weight
    weights[Weight.WINDOW] = WINDOW_WEIGHT
    weights[Weight.LEXICAL] = LEXICAL_WEIGHT
    weights[Weight.AUTHOR] = AUTHOR_WEIGHT
    weights[Weight.LEAST_DEVIATION] = _LEAST_DEVIATION
    weights[Weight.GIVEN] = spread is not None
    weights[Weight.MEAN], weights[Weight.DEVIATION] = spread or (0.0, 0.0)


def prior(fullness: NDArray[np.float32], times: NDArray[np.int64], recency: Recency) -> NDArray[np.float32]:
    """Returns of each message what holds whatever is asked, its age included.

    Args:
        fullness: How much more than the others each says, weighed: see `scoring.prepare_kernel`.
        times: When each was said, in nanoseconds since 1970.
        recency: How newer ones are preferred.
    """
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
