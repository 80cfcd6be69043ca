"""The calls about what was said: conversations, messages, search, export and deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import field_mask_pb2

from chatbot.v1 import chat_service_pb2 as pb
from chatbot.v1 import memory_service_pb2
from client import conversions
from client.export_lines import line_of
from client.requests import fitting, new_request_id
from client.values import DeletedData

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import timedelta

    from client.connection import Connection
    from client.values import Conversation, Message, MessageFilter, NewMessage, SearchHit


class HistoryCalls:
    """What can be asked of the history over a connection. Every method raises `ChatbotError`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_conversation(
        self, *, title: str = "", system_prompt: str = "", request_id: str | None = None
    ) -> Conversation:
        """Starts a conversation. `chat` without one starts one by itself."""
        with fitting():
            request = pb.ChatServiceCreateConversationRequest(
                conversation=memory_service_pb2.Conversation(title=title, system_prompt=system_prompt),
                request_id=request_id or new_request_id(),
            )
        answer = await self._connection.ask(self._connection.wire.door().CreateConversation, request)
        return conversions.from_conversation(answer.conversation)

    async def get_conversation(self, conversation: str) -> Conversation:
        """Returns one conversation."""
        with fitting():
            request = pb.ChatServiceGetConversationRequest(conversation=conversation)
        answer = await self._connection.ask(self._connection.wire.door().GetConversation, request)
        return conversions.from_conversation(answer.conversation)

    async def list_conversations(self, *, page_size: int = 0) -> AsyncIterator[Conversation]:
        """Yields all conversations, the most recently used first; pages are fetched as they are needed.

        Args:
            page_size: How many to fetch at once, up to 1000; 0: the server's choice.
        """
        token = ""
        while True:
            with fitting():
                request = pb.ChatServiceListConversationsRequest(page_size=page_size, page_token=token)
            page = await self._connection.ask(self._connection.wire.door().ListConversations, request)
            for conversation in page.conversations:
                yield conversions.from_conversation(conversation)
            token = page.next_page_token
            if not token:
                return

    async def update_conversation(
        self,
        conversation: str,
        *,
        title: str | None = None,
        system_prompt: str | None = None,
        request_id: str | None = None,
    ) -> Conversation:
        """Changes what is not None, and returns the conversation as it is then."""
        given = [name for name, v in (("title", title), ("system_prompt", system_prompt)) if v is not None]
        with fitting():
            request = pb.ChatServiceUpdateConversationRequest(
                conversation=memory_service_pb2.Conversation(
                    name=conversation, title=title or "", system_prompt=system_prompt or ""
                ),
                update_mask=field_mask_pb2.FieldMask(paths=given),
                request_id=request_id or new_request_id(),
            )
        answer = await self._connection.ask(self._connection.wire.door().UpdateConversation, request)
        return conversions.from_conversation(answer.conversation)

    async def delete_conversation(self, conversation: str, *, request_id: str | None = None) -> None:
        """Deletes a conversation and everything said in it, for good."""
        with fitting():
            request = pb.ChatServiceDeleteConversationRequest(
                conversation=conversation, request_id=request_id or new_request_id()
            )
        await self._connection.ask(self._connection.wire.door().DeleteConversation, request)

    async def append_messages(
        self, conversation: str, messages: Iterable[NewMessage], *, request_id: str | None = None
    ) -> list[Message]:
        """Stores messages that were said elsewhere, all or none, and returns them as stored. Generates nothing.

        Args:
            conversation: Resource name.
            messages: 1 to 1000, the oldest first.
            request_id: UUID of the request. The same one again changes nothing and returns what was stored.

        Raises:
            ConversationBusy: A reply of the conversation is being generated, or others append to it right now.
        """
        with fitting():
            request = pb.ChatServiceAppendMessagesRequest(
                conversation=conversation,
                messages=[conversions.to_message(message) for message in messages],
                request_id=request_id or new_request_id(),
            )
        answer = await self._connection.ask(self._connection.wire.door().AppendMessages, request)
        return [conversions.from_message(message) for message in answer.messages]

    async def list_messages(
        self,
        conversation: str,
        *,
        newest_first: bool = False,
        narrowing: MessageFilter | None = None,
        page_size: int = 0,
    ) -> AsyncIterator[Message]:
        """Yields a conversation's messages; pages are fetched as they are needed.

        Args:
            conversation: Resource name.
            newest_first: Whether the newest comes first rather than the oldest.
            narrowing: Which messages.
            page_size: How many to fetch at once, up to 1000; 0: the server's choice.
        """
        orders = memory_service_pb2.ListOrder
        order = orders.LIST_ORDER_NEWEST_FIRST if newest_first else orders.LIST_ORDER_OLDEST_FIRST
        token = ""
        while True:
            with fitting():
                request = pb.ChatServiceListMessagesRequest(
                    conversation=conversation,
                    page_size=page_size,
                    page_token=token,
                    order=order,
                    filter=None if narrowing is None else conversions.to_filter(narrowing),
                )
            page = await self._connection.ask(self._connection.wire.door().ListMessages, request)
            for message in page.messages:
                yield conversions.from_message(message)
            token = page.next_page_token
            if not token:
                return

    async def search(
        self,
        query: str,
        *,
        limit: int = 0,
        conversation: str = "",
        narrowing: MessageFilter | None = None,
        neighbours: int = 0,
        recency_half_life: timedelta | None = None,
    ) -> list[SearchHit]:
        """Finds messages by meaning and by words, the best first.

        Args:
            query: What to look for, in plain words.
            limit: Most hits, up to 1000; 0 is 10.
            conversation: Only in this one; empty: in all.
            narrowing: Which messages.
            neighbours: How many messages before and after each hit come with it: 0 to 10.
            recency_half_life: Where set, newer messages are preferred, half as much at this age.
        """
        with fitting():
            request = pb.ChatServiceSearchMessagesRequest(
                query=query,
                limit=limit,
                conversation=conversation,
                filter=None if narrowing is None else conversions.to_filter(narrowing),
                neighbours=neighbours,
                recency_half_life=recency_half_life,
            )
        answer = await self._connection.ask(self._connection.wire.door().SearchMessages, request)
        return [conversions.from_hit(hit) for hit in answer.hits]

    async def export(self, conversation: str = "") -> AsyncIterator[Conversation | Message]:
        """Yields everything there is, or one conversation: each conversation, followed by its messages."""
        with fitting():
            request = pb.ChatServiceExportMessagesRequest(conversation=conversation)
        async for answer in self._connection.stream(self._connection.wire.door().ExportMessages, request):
            match answer.record.WhichOneof("record"):
                case "conversation":
                    yield conversions.from_conversation(answer.record.conversation)
                case "message":
                    yield conversions.from_message(answer.record.message)

    async def export_lines(self, conversation: str = "") -> AsyncIterator[str]:
        """Yields what `export` does as lines of JSON, their ends included, which the memory's `import` takes in.

        Superseded replies come too. A line is `{"conversation": …}` or `{"message": …}`; see `client.export_lines`.
        """
        with fitting():
            request = pb.ChatServiceExportMessagesRequest(conversation=conversation)
        async for answer in self._connection.stream(self._connection.wire.door().ExportMessages, request):
            yield line_of(answer.record)

    async def delete_user_data(self, *, request_id: str | None = None) -> DeletedData:
        """Deletes everything the caller has, for good."""
        with fitting():
            request = pb.ChatServiceDeleteUserDataRequest(request_id=request_id or new_request_id())
        answer = await self._connection.ask(self._connection.wire.door().DeleteUserData, request)
        return DeletedData(answer.conversation_count, answer.message_count)
