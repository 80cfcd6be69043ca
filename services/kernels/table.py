"""The tables by which compiled code is told what to work on: 64-bit integers, most of them addresses."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Place(IntEnum):
    """Which 64-bit integer of a table it is: members with `auto()` count from 0."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[Any]) -> int:
        del name, start, last_values
        return count


def addressed(table: type[Place], fields: Sequence[int | NDArray[Any]]) -> ctypes.Array[ctypes.c_int64]:
    """Returns a table of all its fields in their order: numbers, and for addresses arrays without gaps.

    The arrays have to be held on to.
    """
    if len(fields) != len(table):
        raise TypeError(f"{len(fields)} fields for the {len(table)} of {table.__name__}")
    return (ctypes.c_int64 * len(fields))(*(one if isinstance(one, int) else address_of(one) for one in fields))


def address_of(array: NDArray[Any]) -> int:
    """Returns where an array is: faster than `ctypes.data`, which makes an object."""
    address: int = array.__array_interface__["data"][0]
    return address
