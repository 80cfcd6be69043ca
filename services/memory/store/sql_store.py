"""The store on an SQL database: reads on their own connections, writes through the one writer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from services.memory.off_loop import seen_through
from services.memory.store import conversation_rows, message_rows, vector_rows
from services.memory.store.store import Store
from services.memory.store.tables import service_keys
from services.memory.store.writer import Writer
from services.rpc.errors import Unavailable
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from services.memory.conversation import (
        Conversation,
        ConversationChange,
        ConversationCursor,
        ConversationDraft,
        ConversationPage,
        Counts,
        ImportedConversation,
    )
    from services.memory.message import Append, Appended, Message, MessagePage, MessageQuery
    from services.memory.store.requests import WriteRequest
    from services.memory.vector import NewVector, StoredVector, UnembeddedMessage, UserLog

_log = structlog.get_logger()

T = TypeVar("T")


class SqlStore(Store):
    """A `Store` on SQLAlchemy. What differs between databases is in how it is opened.

    Args:
        read_engine: Whose transactions only read.
        write_engine: Whose transactions may write. Used on the writer's thread.
        scrub: Removes deleted text from the database's files.
        on_close: Gives back what opening took, once both engines are disposed of.
    """

    def __init__(
        self,
        read_engine: AsyncEngine,
        write_engine: Engine,
        scrub: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        self._read_engine = read_engine
        self._write_engine = write_engine
        self._writer = Writer(write_engine, scrub)
        self._on_close = on_close

    @override
    async def create_conversation(self, draft: ConversationDraft, request: WriteRequest) -> Conversation:
        return await self._writer.run(partial(conversation_rows.create, draft=draft, request=request))

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
        return await self._writer.run(
            partial(conversation_rows.change, conversation_id=conversation_id, wanted=change, request=request),
            # A text that was replaced is a text that was deleted.
            scrub=change.title is not None or change.system_prompt is not None,
        )

    @override
    async def delete_conversation(self, conversation_id: str, request: WriteRequest) -> None:
        await self._writer.run(
            partial(conversation_rows.remove, conversation_id=conversation_id, request=request), scrub=True
        )

    @override
    async def append_messages(self, append: Append, request: WriteRequest) -> Appended:
        return await self._writer.run(partial(message_rows.append, wanted=append, request=request))

    @override
    async def list_messages(self, user_id: str, query: MessageQuery) -> MessagePage:
        def read(connection: Connection) -> MessagePage:
            conversation_rows.owned(connection, user_id, query.conversation_id)
            return message_rows.page(connection, query)

        return await self._read(read)

    @override
    async def messages_by_id(self, user_id: str, ids: Sequence[int]) -> dict[int, Message]:
        return await self._read(partial(message_rows.by_ids, user_id=user_id, ids=ids))

    @override
    async def import_conversations(self, imported: Sequence[ImportedConversation], request: WriteRequest) -> Counts:
        return await self._writer.run(partial(message_rows.take_in, imported=imported, request=request))

    @override
    async def delete_user(self, request: WriteRequest) -> Counts:
        return await self._writer.run(partial(conversation_rows.remove_all, request=request), scrub=True)

    @override
    async def user_log(self, user_id: str) -> UserLog | None:
        return await self._read(partial(vector_rows.user_log, user_id=user_id))

    @override
    async def vectors_after(self, user_id: str, embedder: str, position: int, limit: int) -> list[StoredVector]:
        return await self._read(
            partial(vector_rows.after, user_id=user_id, embedder=embedder, position=position, limit=limit)
        )

    @override
    async def last_awaited(self, user_id: str) -> int | None:
        return await self._read(partial(vector_rows.last_awaited, user_id=user_id))

    @override
    async def awaited(self, user_id: str, up_to: int, limit: int) -> list[UnembeddedMessage]:
        return await self._read(partial(vector_rows.awaited, user_id=user_id, up_to=up_to, limit=limit))

    @override
    async def next_unembedded(self, limit: int) -> list[UnembeddedMessage]:
        return await self._read(partial(vector_rows.next_unembedded, limit=limit))

    @override
    async def count_unembedded(self) -> int:
        return await self._read(vector_rows.count_unembedded)

    @override
    async def queue_other_embedders(self, embedder: str) -> None:
        await self._writer.run(partial(vector_rows.queue_other_embedders, embedder=embedder))

    @override
    async def put_vectors(self, embedder: str, vector_of: Mapping[int, NewVector], dimension: int) -> None:
        await self._writer.run(partial(vector_rows.put, embedder=embedder, vector_of=vector_of, dimension=dimension))

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
        await self._writer.close()
        await self._read_engine.dispose()
        self._write_engine.dispose()
        self._on_close()

    async def _read(self, operation: Callable[[Connection], T]) -> T:
        try:
            # A read that is cancelled half-way would leave its transaction open, and the log never be truncated.
            return await seen_through(self._read_whole(operation))
        except DBAPIError as failure:
            _log.error("read failed", failure=where(failure))
            raise Unavailable("The database cannot be read now.", retry_after=1.0) from None

    async def _read_whole(self, operation: Callable[[Connection], T]) -> T:
        async with self._read_engine.begin() as connection:
            return await connection.run_sync(operation)
