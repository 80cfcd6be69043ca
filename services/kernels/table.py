"""The tables by which compiled code is told what to work on: 64-bit integers, most of them addresses."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_Number = TypeVar("_Number", bound=np.generic)


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
    count = _size(table)
    if len(fields) != count:
        raise TypeError(f"{len(fields)} fields for the {count} of {table.__name__}")
    return (ctypes.c_int64 * count)(*[one if isinstance(one, int) else address_of(one) for one in fields])


@cache
def _size(table: type[Place]) -> int:
    # A class of members counts them anew each time.
    return len(table)


def address_of(array: NDArray[Any]) -> int:
    """Returns where an array is: faster than `ctypes.data`, which makes an object."""
    address: int = array.__array_interface__["data"][0]
    return address


class Memory:
    """Memory for several arrays, whose addresses are reckoned: numpy takes a microsecond to tell one.

    Args:
        nbytes: For all of them.
    """

    def __init__(self, nbytes: int) -> None:
        self._bytes: NDArray[np.uint8] = np.empty(nbytes, dtype=np.uint8)
        self._begin = address_of(self._bytes)
        self._taken = 0

    def take(self, nbytes: int) -> int:
        """Returns where there are so many bytes that were not taken before. The memory has to be held on to."""
        self._taken = end = self._taken + nbytes
        if end > len(self._bytes):
            raise MemoryError(f"{end} bytes of {len(self._bytes)} would be taken")
        return self._begin + end - nbytes

    def array(self, address: int, count: int, dtype: type[_Number]) -> NDArray[_Number]:
        """Returns the array of so many numbers that is at an address, which was taken for it."""
        return np.frombuffer(self._bytes, dtype, count, address - self._begin)
