"""What a store does for searches."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from typing_extensions import override

from services.memory.store import conversation_rows, log_rows, message_rows, standing_rows, vector_rows
from services.memory.store.store import Store
from services.memory.vector import LogStretch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from services.memory.message import Message
    from services.memory.vector import LogWanted, Standing

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")


class SearchCalls(Store):
    """That part of a `Store`, on two ways to read: at once, and around what is computed in between."""

    @abstractmethod
    async def _read(self, operation: Callable[[Connection], T]) -> T: ...

    @abstractmethod
    async def _read_then(self, operation: Callable[[Connection], S], then: Callable[[S], T]) -> T: ...

    @abstractmethod
    async def _read_around(
        self, before: Callable[[Connection], S], between: Callable[[S], T], after: Callable[[Connection, T], U]
    ) -> U: ...

    @abstractmethod
    async def _read_after(self, before: Callable[[], S], operation: Callable[[Connection, S], T]) -> T: ...

    @abstractmethod
    async def _remove_expired(self, user_id: str, ids: Sequence[str], unwritten_since_ns: int | None) -> int: ...

    @override
    async def read_log(self, user_id: str, wanted: LogWanted, take: Callable[[Standing, LogStretch], T]) -> T:
        def read(connection: Connection) -> tuple[Standing, list[str], LogStretch]:
            standing, expired = _standing(connection, user_id, wanted.conversation_id)
            if standing.log is None:
                return standing, expired, LogStretch.of([])
            return standing, expired, log_rows.following(connection, user_id, wanted, standing.log)

        async def attempt(*, whatever_expired: bool) -> tuple[list[str], T | None]:
            def then(outcome: tuple[Standing, list[str], LogStretch]) -> tuple[list[str], T | None]:
                standing, expired, stretch = outcome
                return expired, None if expired and not whatever_expired else take(standing, stretch)

            return await self._read_then(read, then)

        expired, taken = await attempt(whatever_expired=False)
        if expired:
            # An index must not give places among its hits to what is gone.
            await self._remove_expired(user_id, expired, None)
            _, taken = await attempt(whatever_expired=True)
        return cast("T", taken)

    @override
    async def chosen_messages(
        self, user_id: str, choose: Callable[[Standing], Sequence[int]], conversation_id: str | None = None
    ) -> dict[int, Message]:
        expired: list[str] = []

        def stand(connection: Connection) -> Standing:
            standing, expired[:] = _standing(connection, user_id, conversation_id)
            return standing

        def fetch(connection: Connection, ids: Sequence[int]) -> dict[int, Message]:
            return message_rows.by_ids(connection, user_id, ids)

        chosen = await self._read_around(stand, choose, fetch)
        if expired:
            # They must not take places among the chosen.
            await self._remove_expired(user_id, expired, None)
            chosen = await self._read_around(stand, choose, fetch)
        return chosen

    @override
    async def found_messages(self, user_id: str, find: Callable[[], Sequence[int]]) -> dict[int, Message]:
        return await self._read_after(find, lambda connection, ids: message_rows.by_ids(connection, user_id, ids))

    @override
    async def logged_messages(self, user_id: str) -> NDArray[np.int64]:
        return await self._read(partial(vector_rows.message_ids, user_id=user_id))


def _standing(connection: Connection, user_id: str, conversation_id: str | None) -> tuple[Standing, list[str]]:
    if conversation_id is not None:
        conversation_rows.owned(connection, user_id, conversation_id)
    return standing_rows.standing(connection, user_id)
