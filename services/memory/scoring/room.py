"""Where a search tells what it asks for, and where what is computed goes: memory that one takes after another."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from services.kernels.table import address_of, addressed
from services.memory.scoring.tables import Part, RoomField, Weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_KEPT_BYTES = 8 << 20
"""Rooms that take more are not kept: what needs them takes long beside that."""
_SPARE_SHARE = 4
"""A room is larger by one in so many messages than is needed, for the next search is of another user."""


class RoomSize(NamedTuple):
    """How much there is room for.

    Attributes:
        messages: Of an index.
        width: Numbers of a row.
        terms: Of a query.
        limit: Messages found.
    """

    messages: int
    width: int
    terms: int
    limit: int

    def holds(self, other: RoomSize) -> bool:
        """Returns whether what needs the other fits: rows are of one width in all of a process."""
        return (
            self.width == other.width
            and self.messages >= other.messages
            and self.terms >= other.terms
            and self.limit >= other.limit
        )


class Room:
    """One search's.

    Attributes:
        size: How much there is room for.
        query: What told similarities are to.
        sought: What messages are to be similar to.
        fit: Of messages, what compiled code finds.
        similarities: Of messages, what is given where compiled code does not multiply rows.
        weights: A number for each `Weight`.
        places: Of those found, the best first.
        parts: Of each of those found, a number for each `Part`.
        nbytes: Bytes of memory.
    """

    def __init__(self, size: RoomSize) -> None:
        self.size = size
        messages, width, limit = size.messages, size.width, size.limit
        self._terms: NDArray[np.uint64] = np.zeros(size.terms, dtype=np.uint64)
        self.query, self.sought = (np.zeros(width, dtype=np.float32) for _ in range(2))
        self.fit, self.similarities = (np.zeros(messages, dtype=np.float32) for _ in range(2))
        self.weights: NDArray[np.float32] = np.zeros(len(Weight), dtype=np.float32)
        self.places: NDArray[np.int64] = np.zeros(limit, dtype=np.int64)
        self.parts: NDArray[np.float32] = np.zeros((limit, len(Part)), dtype=np.float32)
        self._arrays: dict[RoomField, NDArray[Any]] = {
            RoomField.TERMS: self._terms,
            RoomField.SPANS: np.zeros((size.terms, 2), dtype=np.int64),
            RoomField.MARKS: np.zeros(messages + 1, dtype=np.uint8),
            RoomField.TIMES: np.zeros(messages + 1, dtype=np.float32),
            RoomField.TOUCHED: np.zeros(messages + 1, dtype=np.int64),
            RoomField.FIT: self.fit,
            RoomField.SHARE: np.zeros(messages, dtype=np.float32),
            RoomField.SOUGHT: self.sought,
            RoomField.PRODUCTS: np.zeros(messages, dtype=np.float32),
            RoomField.SIMILARITIES: self.similarities,
            RoomField.WEIGHTS: self.weights,
            RoomField.KNOWN: np.zeros(messages + 1, dtype=np.float32),
            RoomField.DENSE: np.zeros(messages, dtype=np.float32),
            RoomField.QUERY: self.query,
            RoomField.SCORES: np.zeros(limit, dtype=np.float64),
            RoomField.PLACES: self.places,
            RoomField.PARTS: self.parts,
        }
        self._table = addressed(RoomField, [self._arrays.get(field, 0) for field in RoomField])
        self.address = ctypes.addressof(self._table)
        self.nbytes = sum(array.nbytes for array in self._arrays.values())

    @property
    def found(self) -> int:
        """How many messages were found."""
        return self._table[RoomField.FOUND]

    def ask(
        self,
        terms: Sequence[int],
        passes: NDArray[np.bool_] | None,
        named: NDArray[np.bool_] | None,
        prior: NDArray[np.float32] | None,
        limit: int,
    ) -> None:
        """Tells what is asked for, beside what is written into the arrays. These have to be held on to.

        Args:
            terms: Different ones.
            passes: Of messages: which can be found; None: all.
            named: Of messages: whose author the query names; None: nobody's.
            prior: Of messages: what holds whatever is asked; None: what the index holds.
            limit: Most that are found, at least one.
        """
        table = self._table
        self._terms[: len(terms)] = terms
        table[RoomField.TERM_COUNT] = len(terms)
        table[RoomField.PASSES] = 0 if passes is None else address_of(passes)
        table[RoomField.NAMED] = 0 if named is None else address_of(named)
        table[RoomField.PRIOR] = 0 if prior is None else address_of(prior)
        table[RoomField.LIMIT] = limit


class Rooms:
    """Rooms that are not taken. Any number of threads may ask at once."""

    def __init__(self) -> None:
        self._idle: list[Room] = []

    def take(self, size: RoomSize) -> Room:
        """Returns one for so much, which is to be given back."""
        try:
            room = self._idle.pop()
        except IndexError:
            return Room(size)
        if room.size.holds(size):
            return room
        # The one that is too small is let go: what it was large enough for fits the next one as well.
        kept = room.size if room.size.width == size.width else size
        messages = size.messages + size.messages // _SPARE_SHARE
        return Room(
            RoomSize(max(kept.messages, messages), size.width, max(kept.terms, size.terms), max(kept.limit, size.limit))
        )

    def give_back(self, room: Room) -> None:
        """Takes one back."""
        if room.nbytes <= _KEPT_BYTES:
            self._idle.append(room)
