"""Tables as compiled code reads them: made of numbers, and of arrays, which are held on to as long as the table is."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from services.memory.scoring.tables import IndexField

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.kernels.table import Place


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


class IndexTable:
    """What an index is searched by.

    Args:
        fields: Each `IndexField`: a number, or an array without gaps.
    """

    def __init__(self, fields: Mapping[IndexField, int | NDArray[Any]]) -> None:
        self._fields = fields
        self._table = addressed(IndexField, [fields[field] for field in IndexField])
        self.address = ctypes.addressof(self._table)
