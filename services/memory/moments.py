"""Mean and deviation of the similarities of very many vectors to any query, without computing the similarities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.memory.neighbours import Neighbours

_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class Moments:
    """First and second moments of vectors, by which those of their inner products with a query are known.

    Attributes:
        mean: Of the vectors.
        covariance: Of their components.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        halves: NDArray[np.float16],
        embedded: NDArray[np.bool_],
        neighbours: Neighbours,
        weights: Sequence[float],
    ) -> Moments:
        """Takes the moments of vectors, each averaged with those around it.

        A neighbour without a vector stands for the mean of all vectors, as it does where messages are ranked.

        Args:
            halves: The vectors there are, in order of places; at least one.
            embedded: Of each message, whether it has one.
            neighbours: Of the same messages.
            weights: Of each vector that stands next, then next but one and so on, where the vector itself has 1.
        """
        count, dimension = halves.shape
        places = np.flatnonzero(embedded)
        rows_of = np.full(len(embedded) + 1, count, dtype=np.int64)
        rows_of[places] = np.arange(count)
        whole = count == len(embedded)
        usual = np.float32(0) if whole else halves.mean(axis=0, dtype=np.float32)
        total, products = np.zeros(dimension), np.zeros((dimension, dimension))
        for start in range(0, count, _AT_ONCE):
            end = min(start + _AT_ONCE, count)
            rows = halves[start:end].astype(np.float32)
            at = places[start:end]
            weighed = np.ones(len(at), dtype=np.float32)
            for weight, sides in zip(weights, neighbours.around(at, len(weights)), strict=True):
                for side in sides:
                    theirs = rows_of[side]
                    known = theirs < count
                    rows[known] += np.float32(weight) * halves[theirs[known]].astype(np.float32)
                    rows[~known & (side < len(embedded))] += np.float32(weight) * usual
                    weighed += np.float32(weight) * (side < len(embedded))
            rows /= weighed[:, None]
            total += rows.sum(axis=0, dtype=np.float64)
            products += rows.T @ rows
        mean = total / count
        return cls(mean, products / count - np.outer(mean, mean))

    def along(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """Returns mean and standard deviation of the inner products with a query."""
        direction = query.astype(np.float64)
        variance = float(direction @ self.covariance @ direction)
        return float(direction @ self.mean), max(variance, 0.0) ** 0.5
