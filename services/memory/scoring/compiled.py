"""Scoring, compiled once a process."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

from services.kernels.machine_code import Target
from services.kernels.table import addressed
from services.memory.scoring.post_kernel import write_post
from services.memory.scoring.prepare_kernel import write_prepare
from services.memory.scoring.product_kernel import write_products, write_sums
from services.memory.scoring.ranking_kernel import write_rank
from services.memory.scoring.search_kernel import write_search
from services.memory.scoring.tables import PostedField, PreparedField, SumField
from services.memory.scoring.word_kernel import write_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.memory.scoring.index_table import IndexTable
    from services.memory.scoring.room import Room


class Scoring:
    """The functions of scoring. Any number of threads may call at once, each with a room of its own.

    Args:
        features: What the processor is taken to have, as LLVM names it; None: what it has.
    """

    def __init__(self, features: str | None = None) -> None:
        target = Target(features)
        module = target.module("scoring")
        write_sums(module, target.processor)
        write_post(module)
        write_prepare(module)
        write_search(module, write_words(module), write_products(module, target.processor), write_rank(module))
        # Holds the machine code.
        self._code = target.compile(module)
        self._sums, self._post = (self._code.function(name, [ctypes.c_void_p]) for name in ("sums", "post"))
        self._prepare, self._words, self._rank, self._search = (
            self._code.function(name, [ctypes.c_void_p, ctypes.c_void_p])
            for name in ("prepare", "words", "rank", "search")
        )

    @staticmethod
    @cache
    def of_this_machine() -> Scoring:
        """Returns the one that all of this process share. Takes some tenths of a second the first time."""
        return Scoring()

    def sums(self, *fields: int | NDArray[Any]) -> None:
        """Adds rows up, and the squares of each one's numbers: all of `SumField`, numbers and arrays without gaps."""
        self._sums(addressed(SumField, fields))

    def post(self, *fields: int | NDArray[Any]) -> None:
        """Makes postings of messages' terms: all of `PostedField`, numbers and arrays without gaps."""
        self._post(addressed(PostedField, fields))

    def prepare(self, index: IndexTable, *fields: int | NDArray[Any]) -> None:
        """Fills in what of an index is the same for every search, into arrays that its table names.

        Args:
            index: That table.
            fields: All of `PreparedField`, numbers and arrays without gaps.
        """
        self._prepare(index.address, addressed(PreparedField, fields))

    def search(self, index: IndexTable, room: Room) -> None:
        """Finds the best messages of an index whose vectors are one array, and what is told of them."""
        self._search(index.address, room.address)

    def words(self, index: IndexTable, room: Room) -> None:
        """Finds how well messages have a query's words: `FIT` and `SHARE`."""
        self._words(index.address, room.address)

    def rank(self, index: IndexTable, room: Room) -> None:
        """Weighs messages of which words and similarities are known, and finds the best."""
        self._rank(index.address, room.address)
