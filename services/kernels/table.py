"""The tables by which compiled code is told what to work on: 64-bit integers, most of them addresses."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Place(IntEnum):
    """Which 64-bit integer of a table it is: members with `auto()` count from 0."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[Any]) -> int:
        del name, start, last_values
        return count
