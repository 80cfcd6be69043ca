"""Mean and deviation of the similarities of very many vectors to any query, without computing the similarities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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
    def of(cls, halves: NDArray[np.float16], neighbours: Neighbours, weight: float) -> Moments:
        """Takes the moments of vectors, each averaged with its neighbours'.

        Args:
            halves: Rows in order of places.
            neighbours: Of the same messages.
            weight: Of each neighbour, where the vector itself has 1.
        """
        count, dimension = halves.shape
        total, products = np.zeros(dimension), np.zeros((dimension, dimension))
        for start in range(0, count, _AT_ONCE):
            end = min(start + _AT_ONCE, count)
            rows = halves[start:end].astype(np.float32)
            for side in (neighbours.before[start:end], neighbours.after[start:end]):
                there = side < count
                rows[there] += np.float32(weight) * halves[side[there]].astype(np.float32)
            rows /= (1 + np.float32(weight) * neighbours.count[start:end])[:, None]
            total += rows.sum(axis=0, dtype=np.float64)
            products += rows.T @ rows
        mean = total / count
        return cls(mean, products / count - np.outer(mean, mean))

    def along(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """Returns mean and standard deviation of the inner products with a query."""
        direction = query.astype(np.float64)
        variance = float(direction @ self.covariance @ direction)
        return float(direction @ self.mean), max(variance, 0.0) ** 0.5
