"""A session's messages, kept by the backend."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from langchain_core.chat_history import BaseChatMessageHistory

from client.errors import ConversationBusy, ConversationNotFound, InvalidArgument
from client.langchain.messages import from_message, to_new_messages
from client.langchain.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from langchain_core.messages import BaseMessage

    from client.chat_client import ChatClient
    from client.langchain.connection import ChatbotConnection
    from client.values import NewMessage

T = TypeVar("T")

_PAGE_SIZE = 1000
_PATIENCE_SECONDS = 30.0
"""How long an append waits for other writers of the conversation: longer than a lost gateway's turn holds it."""
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0


class ChatbotMessageHistory(BaseChatMessageHistory):
    """The messages of one session of one user: one conversation of the backend's, listed, searched and exported there.

    The same session id of the same user is the same conversation, from every process; it is created when it is first
    read or written. Every method raises `client.ChatbotError`.

    Args:
        connection: To the backend; it stays the caller's to close.
        session_id: The application's name for the session, 1 to 200 characters. The conversation's title.
        user: Whose it is; None: the backend's single local user. Users see nothing of each other.
        newest: Most messages that are read, the newest; None: all.
        tools: What becomes of tool calls and their results, which the backend cannot keep: they are refused, or left
            out, as is an AI message of nothing else.
    """

    def __init__(
        self,
        connection: ChatbotConnection,
        session_id: str,
        *,
        user: str | None = None,
        newest: int | None = None,
        tools: Literal["refuse", "leave_out"] = "refuse",
    ) -> None:
        super().__init__()
        self._connection = connection
        self._session = Session(user, session_id)
        self._newest = newest
        self._leave_out_tools = tools == "leave_out"

    @property
    def conversation(self) -> str:
        """Resource name of the session's conversation."""
        return self._connection.call(self._session.user, self._find)

    async def aget_conversation(self) -> str:
        """Returns the resource name of the session's conversation."""
        return await self._connection.acall(self._session.user, self._find)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # the base declares what it calls a property
        """The session's messages, the oldest first; of each, `id` is its resource name."""
        return self._connection.call(self._session.user, self._read)

    async def aget_messages(self) -> list[BaseMessage]:
        """Returns the session's messages, the oldest first; of each, `id` is its resource name."""
        return await self._connection.acall(self._session.user, self._read)

    def add_messages(self, messages: Sequence[BaseMessage], *, request_id: str | None = None) -> None:
        """Appends messages in their order, all or none. They are durable when this returns.

        Args:
            messages: Up to 1000.
            request_id: UUID of the request. The same one again, with the same messages, changes nothing.

        Raises:
            InvalidArgument: A message cannot be kept; nothing is stored.
            ConversationBusy: A reply of the conversation is being generated, and was for half a minute.
        """
        append = self._append_of(messages, request_id)
        if append is not None:
            self._connection.call(self._session.user, append)

    async def aadd_messages(self, messages: Sequence[BaseMessage], *, request_id: str | None = None) -> None:
        """Appends messages as `add_messages` does."""
        append = self._append_of(messages, request_id)
        if append is not None:
            await self._connection.acall(self._session.user, append)

    def clear(self) -> None:
        """Deletes the session's messages for good, by deleting its conversation. The next write starts another."""
        self._connection.call(self._session.user, self._clear)

    async def aclear(self) -> None:
        """Deletes the session's messages as `clear` does."""
        await self._connection.acall(self._session.user, self._clear)

    def _append_of(self, messages: Sequence[BaseMessage], request_id: str | None) -> Callable[[ChatClient], Any] | None:
        """Returns the work of appending; None where there is nothing to append."""
        kept = to_new_messages(messages, leave_out_tools=self._leave_out_tools)
        try:
            asked = uuid.UUID(request_id) if request_id else uuid.uuid4()
        except ValueError:
            raise InvalidArgument("request_id must be a UUID.") from None

        async def append(client: ChatClient) -> None:
            await self._in_conversation(client, lambda name: _append_patiently(client, name, kept, asked))

        return append if kept else None

    async def _find(self, client: ChatClient) -> str:
        return await self._in_conversation(client, lambda name: _existing(client, name))

    async def _read(self, client: ChatClient) -> list[BaseMessage]:
        return await self._in_conversation(client, lambda name: _newest(client, name, self._newest))

    async def _clear(self, client: ChatClient) -> None:
        await self._in_conversation(client, client.delete_conversation)

    async def _in_conversation(self, client: ChatClient, work: Callable[[str], Awaitable[T]]) -> T:
        """Does something in the session's conversation; in the next one where it turns out to be gone."""
        sessions = self._connection.sessions
        name = await sessions.conversation(client, self._session)
        try:
            return await work(name)
        except ConversationNotFound:
            return await work(await sessions.conversation(client, self._session, gone=name))


async def _existing(client: ChatClient, conversation: str) -> str:
    return (await client.get_conversation(conversation)).name


async def _newest(client: ChatClient, conversation: str, most: int | None) -> list[BaseMessage]:
    read: list[BaseMessage] = []
    if most is not None and most <= 0:
        return read
    size = _PAGE_SIZE if most is None else min(most, _PAGE_SIZE)
    async for message in client.list_messages(conversation, newest_first=most is not None, page_size=size):
        read.append(from_message(message))
        if len(read) == most:
            break
    return read if most is None else read[::-1]


async def _append_patiently(
    client: ChatClient, conversation: str, messages: list[NewMessage], asked: uuid.UUID
) -> None:
    """Appends, after whoever else writes to the conversation right now."""
    # Of this conversation: what was asked of one that is gone by now is another request to the next one.
    request_id = str(uuid.uuid5(asked, conversation))
    give_up_at = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            await client.append_messages(conversation, messages, request_id=request_id)
        except ConversationBusy:
            if asyncio.get_running_loop().time() >= give_up_at:
                raise
        else:
            return
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
