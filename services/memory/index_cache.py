"""Users' indexes in memory, coherent with the database by log position, the least recently used dropped first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.memory import measures
from services.memory.index import UserIndex
from services.memory.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.memory.store import Store

_PAGE = 5_000
_ON_LOOP = 500
"""Rows that are added on the event loop itself, in under a millisecond or two; more are added on a thread."""


@dataclass(slots=True)
class _Slot:
    """A user's place in the cache. The lock is held while the index is brought up to date and searched."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    index: UserIndex | None = None


class IndexCache:
    """Gives users' indexes.

    Args:
        store: Where vectors are.
        embedder: Id of the embedder whose vectors are searched.
        dimension: Of its vectors.
        max_bytes: Most memory for indexes. One index may be larger; it is then the only one.
    """

    def __init__(self, store: Store, embedder: str, dimension: int, max_bytes: int) -> None:
        self._store = store
        self._embedder = embedder
        self._dimension = dimension
        self._max_bytes = max_bytes
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    @property
    def capacity(self) -> int:
        """Most bytes that they may take."""
        return self._max_bytes

    @property
    def size(self) -> int:
        """Bytes that indexes take."""
        return sum(slot.index.size for slot in self._slots.values() if slot.index is not None)

    def users(self) -> list[str]:
        """Returns whose indexes are held, the least recently used first."""
        return [user_id for user_id, slot in self._slots.items() if slot.index is not None]

    def forget(self, user_id: str) -> None:
        """Drops a user's index."""
        if self._slots.pop(user_id, None) is not None:
            self._note()

    @asynccontextmanager
    async def up_to_date(self, user_id: str) -> AsyncIterator[UserIndex | None]:
        """Lends a user's index, whole as of now, to one borrower at a time; None where there is no vector.

        Only what was added to the user's log since the last time is loaded, or all of it where something was
        taken out.
        """
        slot = self._slots.setdefault(user_id, _Slot())
        self._slots.move_to_end(user_id)
        try:
            async with slot.lock:
                size_before = 0 if slot.index is None else slot.index.size
                slot.index = await self._refreshed(user_id, slot.index)
                if slot.index is not None and slot.index.size > size_before:
                    self._evict(user_id)
                    self._note()
                yield slot.index
        finally:
            if slot.index is None and not slot.lock.locked() and self._slots.get(user_id) is slot:
                del self._slots[user_id]

    async def _refreshed(self, user_id: str, index: UserIndex | None) -> UserIndex | None:
        log = await self._store.user_log(user_id)
        if log is None:
            return None
        if index is None or index.deletion_counter != log.deletion_counter:
            measures.CACHE_LOOKUPS.labels("miss" if index is None else "stale").inc()
            index = UserIndex(self._dimension, log.deletion_counter)
        else:
            measures.CACHE_LOOKUPS.labels("hit").inc()
        while index.last_position < log.last_position:
            rows = await self._store.vectors_after(user_id, self._embedder, index.last_position, _PAGE)
            if len(rows) <= _ON_LOOP:
                index.add(rows)
            else:
                await off_loop(index.add, rows)
            if len(rows) < _PAGE:
                # Positions past the last row were taken out or are another embedder's.
                index.last_position = max(index.last_position, log.last_position)
                break
        return index

    def _evict(self, keep: str) -> None:
        excess = self.size - self._max_bytes
        for user_id in self.users():
            if excess <= 0:
                return
            slot = self._slots[user_id]
            if user_id != keep and slot.index is not None and not slot.lock.locked():
                excess -= slot.index.size
                del self._slots[user_id]
                measures.CACHE_EVICTIONS.inc()

    def _note(self) -> None:
        measures.CACHE_BYTES.set(self.size)
        measures.CACHE_USERS.set(len(self.users()))
