"""The store on an SQL database: reads on their own connections, each user's writes through one writer."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from typing_extensions import override

from services.memory.store import (
    conversation_rows,
    erasure_rows,
    expiry_rows,
    message_rows,
    replica_rows,
    turn_rows,
    vector_rows,
)
from services.memory.store.operator_calls import OperatorCalls
from services.memory.store.search_calls import SearchCalls
from services.memory.store.tables import service_keys
from services.memory.store.writer import Writer
from services.rpc.errors import Overloaded, Unavailable
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from services.memory.conversation import (
        Conversation,
        ConversationChange,
        ConversationCursor,
        ConversationDraft,
        ConversationPage,
        Counts,
        ImportedConversation,
    )
    from services.memory.message import Append, Appended, Message, MessagePage, MessageQuery, MessageRange
    from services.memory.resource_name import MessageName
    from services.memory.store.heartbeat import Heartbeat
    from services.memory.store.reader import Reader
    from services.memory.store.requests import WriteRequest
    from services.memory.vector import NewVector, UnembeddedMessage

_log = structlog.get_logger()

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")


_QUEUED_AT_ONCE = 2_000
_EXPIRED_AT_ONCE = 50


class SqlStore(SearchCalls, OperatorCalls):
    """A `Store` on SQLAlchemy. What differs between databases is in how it is opened.

    Args:
        reader: Runs what only reads.
        write_engine: Whose transactions may write. Used on the writers' threads.
        scrub: Removes deleted text from the database's files, where that can be done.
        on_close: Gives back what opening took, once both engines are disposed of.
        writers: How many write at once, each with its own connection and for its own share of the users.
        heartbeat: Of this replica among those that share the database; None: it is alone.
    """

    def __init__(
        self,
        reader: Reader,
        write_engine: Engine,
        *,
        scrub: Callable[[], None] | None = None,
        on_close: Callable[[], None] | None = None,
        writers: int = 1,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._reader = reader
        self._write_engine = write_engine
        self._writers = tuple(Writer(write_engine, scrub) for _ in range(writers))
        self._on_close = on_close
        self._heartbeat = heartbeat
        self._replica = None
        if heartbeat is not None:
            self._replica = heartbeat.replica
            heartbeat.start(self._writers[0])

    @override
    async def create_conversation(self, draft: ConversationDraft, request: WriteRequest) -> Conversation:
        return await self._write(request.user_id, partial(conversation_rows.create, draft=draft, request=request))

    @override
    async def get_conversation(self, user_id: str, conversation_id: str) -> Conversation:
        return await self._read(partial(conversation_rows.owned, user_id=user_id, conversation_id=conversation_id))

    @override
    async def list_conversations(self, user_id: str, limit: int, after: ConversationCursor | None) -> ConversationPage:
        return await self._read(partial(conversation_rows.page, user_id=user_id, limit=limit, after=after))

    @override
    async def conversation_ids(self, user_id: str) -> list[str]:
        return await self._read(partial(conversation_rows.every_id, user_id=user_id))

    @override
    async def update_conversation(
        self, conversation_id: str, change: ConversationChange, request: WriteRequest
    ) -> Conversation:
        return await self._write(
            request.user_id,
            partial(conversation_rows.change, conversation_id=conversation_id, wanted=change, request=request),
            # A text that was replaced is a text that was deleted.
            scrub=change.title is not None or change.system_prompt is not None or change.summary is not None,
        )

    @override
    async def delete_conversation(self, conversation_id: str, request: WriteRequest) -> None:
        await self._write(
            request.user_id,
            partial(conversation_rows.remove, conversation_id=conversation_id, request=request),
            scrub=True,
        )

    @override
    async def append_messages(self, append: Append, request: WriteRequest) -> Appended:
        return await self._write(
            request.user_id, partial(message_rows.append, wanted=append, request=request, replica=self._replica)
        )

    @override
    async def delete_messages(self, wanted: MessageRange, request: WriteRequest) -> int:
        return await self._write(
            request.user_id, partial(erasure_rows.erase, wanted=wanted, request=request), scrub=True
        )

    @override
    async def list_messages(self, user_id: str, query: MessageQuery) -> MessagePage:
        def read(connection: Connection) -> MessagePage:
            conversation_rows.owned(connection, user_id, query.conversation_id)
            return message_rows.page(connection, query)

        return await self._read(read)

    @override
    async def messages_by_name(self, user_id: str, names: Sequence[MessageName]) -> tuple[Message, ...]:
        return await self._read(partial(message_rows.by_names, user_id=user_id, names=names))

    @override
    async def import_conversations(self, imported: Sequence[ImportedConversation], request: WriteRequest) -> Counts:
        return await self._write(
            request.user_id, partial(message_rows.take_in, imported=imported, request=request, replica=self._replica)
        )

    @override
    async def delete_user(self, request: WriteRequest) -> Counts:
        return await self._write(request.user_id, partial(conversation_rows.remove_all, request=request), scrub=True)

    @override
    async def hold_turn(self, user_id: str, conversation_id: str, turn_id: str, lease_ns: int) -> None:
        await self._write(
            user_id,
            partial(
                turn_rows.hold, user_id=user_id, conversation_id=conversation_id, turn_id=turn_id, lease_ns=lease_ns
            ),
        )

    @override
    async def end_turn(self, user_id: str, conversation_id: str, turn_id: str) -> None:
        await self._write(
            user_id, partial(turn_rows.end, user_id=user_id, conversation_id=conversation_id, turn_id=turn_id)
        )

    @override
    async def awaited(self, user_id: str, up_to: int, limit: int) -> list[UnembeddedMessage]:
        return await self._read(partial(vector_rows.awaited, user_id=user_id, up_to=up_to, limit=limit))

    @override
    async def next_unembedded(self, limit: int, *, awaited: bool = False) -> list[UnembeddedMessage]:
        mine = partial(vector_rows.next_unembedded, replica=self._replica, limit=limit, awaited=awaited)
        found = await self._read(mine)
        if found or self._replica is None:
            return found
        take_over = partial(replica_rows.take_over, replica=self._replica, limit=limit, awaited=awaited)
        if await self._writers[0].run(take_over):
            return await self._read(mine)
        return []

    @override
    async def count_unembedded(self) -> int:
        return await self._read(vector_rows.count_unembedded)

    @override
    async def queue_other_embedders(self, embedder: str) -> None:
        last: int | None = 0
        while last is not None:
            last = await self._writers[0].run(
                partial(vector_rows.queue_other_embedders, embedder=embedder, after=last, limit=_QUEUED_AT_ONCE)
            )

    @override
    async def put_vectors(self, embedder: str, vector_of: Mapping[int, NewVector], dimension: int) -> None:
        await self._writers[0].run(
            partial(vector_rows.put, embedder=embedder, vector_of=vector_of, dimension=dimension)
        )

    @override
    async def put_words(self, terms_of: Mapping[int, bytes]) -> None:
        await self._writers[0].run(partial(vector_rows.put_words, terms_of=terms_of))

    @override
    async def remove_expired(self, unwritten_since_ns: int | None) -> int:
        found = await self._read(
            partial(expiry_rows.find, unwritten_since_ns=unwritten_since_ns, limit=_EXPIRED_AT_ONCE)
        )
        ids_of: dict[str, list[str]] = {}
        for user_id, conversation_id in found:
            ids_of.setdefault(user_id, []).append(conversation_id)
        removed = 0
        for user_id, ids in ids_of.items():
            removed += await self._remove_expired(user_id, ids, unwritten_since_ns)
        return removed

    @override
    async def page_token_key(self) -> bytes:
        def read(connection: Connection) -> bytes:
            key: bytes = connection.execute(
                select(service_keys.c.value).where(service_keys.c.name == "page_tokens")
            ).scalar_one()
            return key

        return await self._read(read)

    @override
    async def close(self) -> None:
        if self._heartbeat is not None:
            await self._heartbeat.close()
        for writer in self._writers:
            await writer.close()
        await self._reader.close()
        self._write_engine.dispose()
        if self._on_close is not None:
            self._on_close()

    @override
    async def _remove_expired(self, user_id: str, ids: Sequence[str], unwritten_since_ns: int | None) -> int:
        return await self._write(
            user_id,
            partial(expiry_rows.remove, user_id=user_id, ids=ids, unwritten_since_ns=unwritten_since_ns),
            scrub=True,
        )

    async def _write(self, user_id: str, operation: Callable[[Connection], T], *, scrub: bool = False) -> T:
        self._check_revision()
        share = int.from_bytes(hashlib.sha256(user_id.encode()).digest()[:4], "big") % len(self._writers)
        return await self._writers[share].run(operation, user_id=user_id, scrub=scrub)

    @override
    async def _write_alone(self, operation: Callable[[Connection], T]) -> T:
        self._check_revision()
        return await self._writers[0].run(operation)

    @property
    @override
    def _own_replica(self) -> str | None:
        return self._replica

    @override
    async def _read(self, operation: Callable[[Connection], T]) -> T:
        return await self._retried(lambda: self._reader.run(operation))

    @override
    async def _read_then(self, operation: Callable[[Connection], S], then: Callable[[S], T]) -> T:
        return await self._retried(lambda: self._reader.run_then(operation, then))

    @override
    async def _read_around(
        self, before: Callable[[Connection], S], between: Callable[[S], T], after: Callable[[Connection, T], U]
    ) -> U:
        return await self._retried(lambda: self._reader.run_around(before, between, after))

    @override
    async def _read_after(self, before: Callable[[], S], operation: Callable[[Connection, S], T]) -> T:
        return await self._retried(lambda: self._reader.run_after(before, operation))

    async def _retried(self, read: Callable[[], Awaitable[T]]) -> T:
        self._check_revision()
        for attempt in (1, 2):
            try:
                return await read()
            except NoConnectionFree:
                raise Overloaded("Too many reads are waiting.", retry_after=1.0) from None
            except DBAPIError as failure:
                # A database that was restarted has left connections in the pool that are none any more.
                if failure.connection_invalidated and attempt == 1:
                    continue
                _log.error("read failed", failure=where(failure))
                break
        raise Unavailable("The database cannot be read now.", retry_after=1.0)

    def _check_revision(self) -> None:
        if self._heartbeat is not None and self._heartbeat.outdated:
            raise Unavailable("The database is a newer version's now; this replica is to be replaced.")
