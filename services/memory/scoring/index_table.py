"""What an index is searched by, as compiled code reads it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from services.kernels.table import addressed
from services.memory.scoring.tables import IndexField

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class IndexTable:
    """A table of `IndexField`s, and the arrays that it leads to, which are held on to as long as it is.

    Args:
        fields: Each of them: a number, or an array without gaps.
    """

    def __init__(self, fields: Mapping[IndexField, int | NDArray[Any]]) -> None:
        self._fields = fields
        self._table = addressed(IndexField, [fields[field] for field in IndexField])
        self.address = ctypes.addressof(self._table)
