"""What an index is searched by, as compiled code reads it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from services.kernels.table import address_of
from services.memory.scoring.tables import IndexField

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Table = ctypes.c_int64 * len(IndexField)


class IndexTable:
    """A table of `IndexField`s, each 0 until it is set, and what it leads to, which is held on to as long as it is.

    Args:
        held: What else is held on to: where numbers that are set are addresses, what is there.
    """

    def __init__(self, *held: object) -> None:
        self._table: ctypes.Array[ctypes.c_int64] = _Table()
        self._held: list[object] = list(held)
        self.address = ctypes.addressof(self._table)

    def copy(self) -> IndexTable:
        """Returns another whose fields are set to the same."""
        other = IndexTable(self)
        ctypes.memmove(other.address, self.address, ctypes.sizeof(_Table))
        return other

    def __setitem__(self, field: IndexField, value: int | NDArray[Any]) -> None:
        """Sets a field: to a number, or to where an array is, which has no gaps."""
        if isinstance(value, int):
            self._table[field] = value
            return
        self._held.append(value)
        self._table[field] = address_of(value)
