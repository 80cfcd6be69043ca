"""The few statistics that results are told in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value below which a share of the values lies, interpolated linearly between neighbours.

    Args:
        values: At least one, in any order.
        share: 0 to 1; 0.5 is the median.

    Raises:
        ValueError: There are no values, or the share is none.
    """
    if not values:
        raise ValueError("a percentile needs at least one value")
    if not 0 <= share <= 1:
        raise ValueError(f"a share is 0 to 1, not {share}")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    """Returns the middle value.

    Raises:
        ValueError: There are no values.
    """
    return percentile(values, 0.5)


@dataclass(frozen=True, slots=True)
class Summary:
    """Repetitions of one measurement."""

    count: int
    median: float
    minimum: float
    maximum: float
    quartiles: tuple[float, float]
    """First and third."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Sums repetitions up.

        Raises:
            ValueError: There are none.
        """
        return cls(
            len(values),
            median(values),
            min(values),
            max(values),
            (percentile(values, 0.25), percentile(values, 0.75)),
        )
