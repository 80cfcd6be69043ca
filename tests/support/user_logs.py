"""A user's log of vectors, as tests look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.memory.vector import LogStretch, LogWanted, Standing, UserLog

if TYPE_CHECKING:
    from services.memory.store import Store


async def standing_of(store: Store, user_id: str) -> Standing:
    """Returns where a user stands."""
    return await store.read_log(user_id, LogWanted("none", None, 1), lambda standing, _: standing)


async def vectors_after(store: Store, user_id: str, embedder: str, position: int, limit: int) -> LogStretch:
    """Returns what follows a position of a user's log, whatever was taken out of it."""
    log = (await standing_of(store, user_id)).log
    known = None if log is None else UserLog(position, log.deletion_counter)
    return await store.read_log(user_id, LogWanted(embedder, known, limit), lambda _, stretch: stretch)
