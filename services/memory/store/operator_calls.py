"""What a store does for its operators."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from services.memory.store import fault_rows, inspection_rows, message_rows, reindex_rows
from services.memory.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from services.memory.conversation import Counts, ImportedConversation
    from services.memory.inspection import Fault, Statistics

T = TypeVar("T")

_QUEUED_AT_ONCE = 2_000
_REQUESTS_AT_ONCE = 5_000


class OperatorCalls(Store):
    """That part of a `Store`, on two ways to the database: to read, and to write in a transaction of its own."""

    @abstractmethod
    async def _read(self, operation: Callable[[Connection], T]) -> T: ...

    @abstractmethod
    async def _write_alone(self, operation: Callable[[Connection], T]) -> T: ...

    @property
    @abstractmethod
    def _own_replica(self) -> str | None: ...

    @override
    async def users_after(self, user_id: str, limit: int) -> list[str]:
        return await self._read(partial(inspection_rows.users_after, user_id=user_id, limit=limit))

    @override
    async def statistics(self, largest: int) -> Statistics:
        return await self._read(partial(inspection_rows.statistics, largest=largest))

    @override
    async def database_faults(self) -> list[Fault]:
        faults = await self._read(fault_rows.of_database)
        after: bytes | None = b""
        while after is not None:
            found, after = await self._read(partial(fault_rows.of_requests, after=after, limit=_REQUESTS_AT_ONCE))
            faults += found
        return faults

    @override
    async def user_faults(self, user_id: str, embedder: str, dimension: int) -> list[Fault]:
        return await self._read(partial(fault_rows.of_user, user_id=user_id, embedder=embedder, dimension=dimension))

    @override
    async def queue_unfit(self, embedder: str, dimension: int, *, everything: bool) -> None:
        last: int | None = 0
        while last is not None:
            last = await self._write_alone(
                partial(
                    reindex_rows.queue,
                    embedder=embedder,
                    dimension=dimension,
                    everything=everything,
                    after=last,
                    limit=_QUEUED_AT_ONCE,
                )
            )

    @override
    async def import_users(
        self, read: Callable[[], Iterator[tuple[str, ImportedConversation]]], request_id: str
    ) -> Counts:
        return await self._write_alone(
            partial(message_rows.take_in_users, read=read, request_id=request_id, replica=self._own_replica)
        )
