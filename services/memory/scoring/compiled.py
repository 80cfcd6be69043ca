"""Scoring, compiled once a process."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

from services.kernels.machine_code import Target
from services.memory.scoring.lexical_kernel import write_touch, write_weigh
from services.memory.scoring.product_kernel import write_products, write_sums
from services.memory.scoring.ranking_kernel import write_rank
from services.memory.scoring.tables import ProductField, RankField, SumField, TouchField, WeighField

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.kernels.table import Place


class Scoring:
    """The functions of scoring. Any number of threads may call at once.

    Each is called with all fields of its table in their order: numbers, and for addresses arrays without gaps.

    Args:
        features: What the processor is taken to have, as LLVM names it; None: what it has.
    """

    def __init__(self, features: str | None = None) -> None:
        target = Target(features)
        module = target.module("scoring")
        write_products(module, target.processor)
        write_sums(module, target.processor)
        write_touch(module)
        write_weigh(module)
        write_rank(module)
        # Holds the machine code.
        self._code = target.compile(module)
        self._products, self._sums, self._touch, self._weigh, self._rank = (
            self._code.function(name, [ctypes.c_void_p]) for name in ("products", "sums", "touch", "weigh", "rank")
        )

    @staticmethod
    @cache
    def of_this_machine() -> Scoring:
        """Returns the one that all of this process share. Takes some tenths of a second the first time."""
        return Scoring()

    def products(self, *fields: int | NDArray[Any]) -> None:
        """Multiplies rows with a query: `ProductField`."""
        _call(self._products, ProductField, fields)

    def sums(self, *fields: int | NDArray[Any]) -> None:
        """Adds rows up, and the squares of each one's numbers: `SumField`."""
        _call(self._sums, SumField, fields)

    def touch(self, *fields: int | NDArray[Any]) -> None:
        """Finds what stands at or next to messages that have each term: `TouchField`."""
        _call(self._touch, TouchField, fields)

    def weigh(self, *fields: int | NDArray[Any]) -> None:
        """Adds to messages' fit and share what terms give: `WeighField`."""
        _call(self._weigh, WeighField, fields)

    def rank(self, *fields: int | NDArray[Any]) -> None:
        """Weighs messages and finds the best: `RankField`."""
        _call(self._rank, RankField, fields)


def _call(function: Callable[[Any], None], table: type[Place], fields: tuple[int | NDArray[Any], ...]) -> None:
    if len(fields) != len(table):
        raise TypeError(f"{len(fields)} fields for the {len(table)} of {table.__name__}")
    # Faster than `ctypes.data`, of which a search would ask forty times.
    addresses = (field if isinstance(field, int) else field.__array_interface__["data"][0] for field in fields)
    function((ctypes.c_int64 * len(fields))(*addresses))
