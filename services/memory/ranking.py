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

from services.memory.scoring import Scoring
from services.memory.scoring.ranking_kernel import PARTS
from services.memory.scoring.tables import Weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.memory.lexical import Match
    from services.memory.neighbours import Neighbours

NEIGHBOUR_WEIGHTS = (0.2, 0.1)
"""Of the similarity of each message that stands next to a message, and next but one, where its own has weight 1."""
COMMON_WEIGHT = 0.5
"""Of similarity to what all messages have in common, which is taken off: what says little is near to everything."""
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


@dataclass(frozen=True, slots=True)
class Weighed:
    """What is known of every message of a user: arrays in order of places.

    Attributes:
        similarities: Of its vector to the query that `sought` gives.
        usual: Their mean.
        embedded: Whether it has a vector; of the others meaning says nothing, neither for nor against.
        dense_weight: How much similarity counts: 1, or less where the embedder cannot be trusted with the query.
        match: What it has of the query's terms.
        named: Whether the query names its author.
        fullness: As `fullness` gives it.
        times: When it was said, in nanoseconds since 1970.
        neighbours: What stands around it.
        recency: None: age does not count.
        spread: Mean and deviation of the similarities of all that have a vector, their surroundings' included, where
            not all are known; None: all are.
    """

    similarities: NDArray[np.float32]
    usual: float
    embedded: NDArray[np.bool_]
    dense_weight: float
    match: Match
    named: NDArray[np.bool_]
    fullness: NDArray[np.float32]
    times: NDArray[np.int64]
    neighbours: Neighbours
    recency: Recency | None
    spread: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Best:
    """The best messages, the best first, the newer first where two score the same.

    Attributes:
        places: Of each.
        dense: What meaning gives to its score.
        lexical: What words and the author give.
        prior: What holds whatever is asked.
    """

    places: list[int]
    dense: list[float]
    lexical: list[float]
    prior: list[float]


def best(weighed: Weighed, passes: NDArray[np.bool_], ids: NDArray[np.int64], limit: int) -> Best:
    """Weighs every message of a user, and returns the best of those that pass.

    A message's score is the sum of its parts, in double precision: the same as whoever adds them up gets.

    Args:
        weighed: What is known of them.
        passes: Which count.
        ids: Of each message; the newest has the largest.
        limit: Most messages.
    """
    prior = weighed.fullness
    if weighed.recency is not None:
        age = np.maximum(weighed.recency.now_ns - weighed.times, 0) / weighed.recency.half_life_ns
        prior = prior + np.float32(RECENCY_WEIGHT) * np.exp2(-age).astype(np.float32)
    mean, deviation = weighed.spread or (0.0, 0.0)
    weight_of = {
        Weight.USUAL: weighed.usual,
        Weight.NEXT: NEIGHBOUR_WEIGHTS[0],
        Weight.NEXT_BUT_ONE: NEIGHBOUR_WEIGHTS[1],
        Weight.DENSE: weighed.dense_weight,
        Weight.LEXICAL: LEXICAL_WEIGHT,
        Weight.AUTHOR: AUTHOR_WEIGHT,
        Weight.LEAST_DEVIATION: _LEAST_DEVIATION,
        Weight.GIVEN: weighed.spread is not None,
        Weight.MEAN: mean,
        Weight.DEVIATION: deviation,
    }
    weights = np.array([weight_of[weight] for weight in Weight], dtype=np.float32)
    count, most = len(ids), min(limit, len(ids))
    known, dense = np.empty(count + 1, dtype=np.float32), np.empty(count, dtype=np.float32)
    scores, places = np.empty(most, dtype=np.float64), np.zeros(most, dtype=np.int64)
    parts, found = np.empty((most, PARTS), dtype=np.float32), np.zeros(1, dtype=np.int64)
    around, counts = (weighed.neighbours.before, weighed.neighbours.after), weighed.neighbours.counts
    similar, words = (weighed.similarities, weighed.embedded), (weighed.match.fit, weighed.named)
    out = scores, places, parts, found
    Scoring.of_this_machine().rank(
        count, *similar, *around, *counts, *words, prior, passes, ids, weights, known, dense, most, *out
    )
    return Best(places[: found[0]].tolist(), *parts[: found[0]].T.tolist())


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
