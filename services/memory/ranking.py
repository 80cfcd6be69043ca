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

from services.memory.neighbours import REACH

if TYPE_CHECKING:
    from collections.abc import Sequence

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
class Parts:
    """What each message is ranked by: arrays in order of places."""

    dense: NDArray[np.float32]
    lexical: NDArray[np.float32]
    prior: NDArray[np.float32]

    @property
    def score(self) -> NDArray[np.float64]:
        """Their sum, in double precision: the same as whoever adds up a message's parts gets."""
        return self.dense.astype(np.float64) + self.lexical + self.prior


def parts(
    *,
    similarities: NDArray[np.float32],
    usual: float,
    embedded: NDArray[np.bool_],
    dense_weight: float,
    match: Match,
    named: NDArray[np.bool_],
    fullness: NDArray[np.float32],
    times: NDArray[np.int64],
    neighbours: Neighbours,
    recency: Recency | None,
    spread: tuple[float, float] | None,
) -> Parts:
    """Weighs every message of a user.

    Args:
        similarities: Of each message's vector to the query that `sought` gives.
        usual: Their mean.
        embedded: Which messages have a vector; of the others meaning says nothing, neither for nor against.
        dense_weight: How much similarity counts: 1, or less where the embedder cannot be trusted with the query.
        match: What has the query's terms.
        named: Whose author the query names.
        fullness: Of each message, as `fullness` gives it.
        times: When each was said, in nanoseconds since 1970.
        neighbours: Of the same messages.
        recency: None: age does not count.
        spread: Mean and deviation of the similarities of all that have a vector, their surroundings' included, where
            not all are known; None: all are.
    """
    known = similarities
    if not embedded.all():
        known = np.where(embedded, similarities, np.float32(usual))
    smoothed, weights = known.copy(), np.ones_like(known)
    distances = zip(NEIGHBOUR_WEIGHTS, neighbours.sums(known, REACH), neighbours.counts, strict=True)
    for weight, theirs, count in distances:
        smoothed += np.float32(weight) * theirs
        weights += np.float32(weight) * count
    smoothed /= weights
    dense = np.zeros_like(smoothed)
    dense[embedded] = standardised(smoothed[embedded], spread)
    prior = np.float32(FULLNESS_WEIGHT) * fullness
    if recency is not None:
        age = np.maximum(recency.now_ns - times, 0) / recency.half_life_ns
        prior += np.float32(RECENCY_WEIGHT) * np.exp2(-age).astype(np.float32)
    lexical = np.float32(LEXICAL_WEIGHT) * match.fit + np.float32(AUTHOR_WEIGHT) * named.astype(np.float32)
    return Parts(np.float32(dense_weight) * dense, lexical, prior)


def sought(vector: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns what messages are to be similar to: the query, less of what they have in common.

    Args:
        vector: The query's.
        centre: Mean of the messages' vectors.
    """
    return vector - np.float32(COMMON_WEIGHT) * centre


def fullness(rarities: NDArray[np.float32], lengths: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns how much more than the others each message says: 1, where it is e times as much as they on average.

    Not in standard deviations: of a few messages that say nearly the same amount, none is by far the fullest.

    Args:
        rarities: Of each message, as `LexicalIndex.rarities` gives it.
        lengths: Words of each. Of one that is longer than long enough, as much counts as one has that is so long.
    """
    said = np.log1p(rarities * np.minimum(1, LONG_ENOUGH / np.maximum(lengths, 1)).astype(np.float32))
    return said - said.mean(dtype=np.float64).astype(np.float32) if len(said) else said


def standardised(values: NDArray[np.float32], spread: tuple[float, float] | None = None) -> NDArray[np.float32]:
    """Returns how many standard deviations each value is above the mean: 0 where all are equal.

    Args:
        values: Any number of them.
        spread: Mean and deviation; None: those of the values.
    """
    if not len(values):
        return values
    mean = float(values.mean(dtype=np.float64)) if spread is None else spread[0]
    above: NDArray[np.float32] = values - np.float32(mean)
    deviation = float(np.sqrt(np.dot(above, above) / len(values))) if spread is None else spread[1]
    if deviation < _LEAST_DEVIATION:
        return np.zeros_like(values)
    above /= np.float32(deviation)
    return above


def best(scores: NDArray[np.float64], passes: NDArray[np.bool_], ids: NDArray[np.int64], limit: int) -> Sequence[int]:
    """Returns the places of the best that pass, the best first, the newer message first where two score the same.

    Args:
        scores: Of each message.
        passes: Which count.
        ids: Of each message; the newest has the largest.
        limit: Most places.
    """
    places = np.flatnonzero(passes)
    if len(places) > limit:
        among = scores[places]
        # Of so many stretches each has one that is at least the least of their best ones.
        stretches = among[: len(among) // limit * limit].reshape(limit, -1)
        places = places[among >= stretches.max(axis=1).min()]
    if len(places) > limit:
        among = scores[places]
        least = np.partition(among, len(among) - limit)[len(among) - limit]
        places = places[among >= least]
    order = np.lexsort((-ids[places], -scores[places]))[:limit]
    chosen: list[int] = places[order].tolist()
    return chosen
