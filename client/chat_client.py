"""The client: one method a call of `chatbot.v1.ChatService`."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
from google.protobuf import field_mask_pb2

from chatbot.v1 import chat_service_pb2 as pb
from chatbot.v1 import chat_service_pb2_grpc, memory_service_pb2
from client import conversions
from client.channel import open_channel
from client.errors import ChatbotError, InvalidArgument, from_rpc_error
from client.reply import Reply
from client.values import DeletedData

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from datetime import timedelta
    from types import TracebackType
    from typing import Self

    from client.reply import ReplyCall
    from client.values import (
        Context,
        Conversation,
        Message,
        MessageFilter,
        Model,
        NewMessage,
        RecallConfig,
        SamplingConfig,
        SearchHit,
    )

USER_METADATA_KEY = "x-user-id-bin"
"""Call metadata that says who calls: UTF-8 bytes, so that a name may be of any script."""

Request = TypeVar("Request")
Response = TypeVar("Response")


class ChatClient:
    """A client of the chat backend, for one event loop. An async context manager.

    Every method raises `ChatbotError`. Every write carries a `request_id`, a fresh one where none is given, so
    that what was tried again after a broken connection is carried out once.

    Args:
        address: `host:port` of the gateway, or any gRPC target.
        user: Who calls; None: the backend's single local user.
        timeout: Longest time in seconds for every call but `chat`, `regenerate` and `export`; None: no limit.
    """

    def __init__(self, address: str, user: str | None = None, *, timeout: float | None = 60.0) -> None:
        self.address = address
        self._timeout = timeout
        self._metadata = _identity(user)
        self._channel: grpc.aio.Channel | None = None
        self._stub: chat_service_pb2_grpc.ChatServiceAsyncStub | None = None
        self._owners_door: Callable[[], chat_service_pb2_grpc.ChatServiceAsyncStub] | None = None

    async def __aenter__(self) -> Self:
        self._channel = open_channel(self.address)
        self._stub = chat_service_pb2_grpc.ChatServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close()

    def as_user(self, user: str | None) -> ChatClient:
        """Returns a client of another user over this one's connection, which is open as long as this one is.

        Args:
            user: Who calls; None: the backend's single local user.
        """
        other = ChatClient(self.address, timeout=self._timeout)
        other._metadata, other._owners_door = _identity(user), self._door
        return other

    def chat(
        self,
        text: str,
        *,
        conversation: str = "",
        request_id: str | None = None,
        sampling: SamplingConfig | None = None,
        recall: RecallConfig | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Says something; the reply is iterated over as it is generated.

        Args:
            text: What is said.
            conversation: Resource name; empty: a new conversation, whose name `Reply.started` tells.
            request_id: UUID of the turn. The same one again replays the outcome rather than generate twice.
            sampling: How tokens are chosen.
            recall: How older messages are recalled.
            timeout: Longest time in seconds; the reply then ends with `FinishReason.DEADLINE` or DeadlineExceeded.

        Raises:
            InvalidArgument: A value does not fit its field; what the server refuses is raised by the iteration.
        """
        with _fitting():
            request = pb.ChatRequest(
                conversation=conversation,
                text=text,
                request_id=request_id or _new_request_id(),
                sampling=None if sampling is None else conversions.to_sampling(sampling),
                recall=None if recall is None else conversions.to_recall(recall),
            )
        return self._reply(self._door().Chat, request, timeout)

    def regenerate(
        self,
        conversation: str,
        *,
        request_id: str | None = None,
        sampling: SamplingConfig | None = None,
        recall: RecallConfig | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Generates the last reply of a conversation anew, in place of the one there is. See `chat`."""
        with _fitting():
            request = pb.RegenerateRequest(
                conversation=conversation,
                request_id=request_id or _new_request_id(),
                sampling=None if sampling is None else conversions.to_sampling(sampling),
                recall=None if recall is None else conversions.to_recall(recall),
            )
        return self._reply(self._door().Regenerate, request, timeout)

    async def get_context(self, text: str, *, conversation: str = "", recall: RecallConfig | None = None) -> Context:
        """Returns the prompt that `chat` would build for a text. Stores nothing."""
        with _fitting():
            request = pb.GetContextRequest(
                conversation=conversation,
                text=text,
                recall=None if recall is None else conversions.to_recall(recall),
            )
        return conversions.from_context(await self._ask(self._door().GetContext, request))

    async def get_model(self) -> Model:
        """Returns the model that answers."""
        answer = await self._ask(self._door().GetModel, pb.ChatServiceGetModelRequest())
        return conversions.from_model(answer.model)

    async def create_conversation(
        self, *, title: str = "", system_prompt: str = "", request_id: str | None = None
    ) -> Conversation:
        """Starts a conversation. `chat` without one starts one by itself."""
        with _fitting():
            request = pb.ChatServiceCreateConversationRequest(
                conversation=memory_service_pb2.Conversation(title=title, system_prompt=system_prompt),
                request_id=request_id or _new_request_id(),
            )
        answer = await self._ask(self._door().CreateConversation, request)
        return conversions.from_conversation(answer.conversation)

    async def get_conversation(self, conversation: str) -> Conversation:
        """Returns one conversation."""
        with _fitting():
            request = pb.ChatServiceGetConversationRequest(conversation=conversation)
        answer = await self._ask(self._door().GetConversation, request)
        return conversions.from_conversation(answer.conversation)

    async def list_conversations(self, *, page_size: int = 0) -> AsyncIterator[Conversation]:
        """Yields all conversations, the most recently used first; pages are fetched as they are needed.

        Args:
            page_size: How many to fetch at once, up to 1000; 0: the server's choice.
        """
        token = ""
        while True:
            with _fitting():
                request = pb.ChatServiceListConversationsRequest(page_size=page_size, page_token=token)
            page = await self._ask(self._door().ListConversations, request)
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
        with _fitting():
            request = pb.ChatServiceUpdateConversationRequest(
                conversation=memory_service_pb2.Conversation(
                    name=conversation, title=title or "", system_prompt=system_prompt or ""
                ),
                update_mask=field_mask_pb2.FieldMask(paths=given),
                request_id=request_id or _new_request_id(),
            )
        answer = await self._ask(self._door().UpdateConversation, request)
        return conversions.from_conversation(answer.conversation)

    async def delete_conversation(self, conversation: str, *, request_id: str | None = None) -> None:
        """Deletes a conversation and everything said in it, for good."""
        with _fitting():
            request = pb.ChatServiceDeleteConversationRequest(
                conversation=conversation, request_id=request_id or _new_request_id()
            )
        await self._ask(self._door().DeleteConversation, request)

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
        with _fitting():
            request = pb.ChatServiceAppendMessagesRequest(
                conversation=conversation,
                messages=[conversions.to_message(message) for message in messages],
                request_id=request_id or _new_request_id(),
            )
        answer = await self._ask(self._door().AppendMessages, request)
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
            with _fitting():
                request = pb.ChatServiceListMessagesRequest(
                    conversation=conversation,
                    page_size=page_size,
                    page_token=token,
                    order=order,
                    filter=None if narrowing is None else conversions.to_filter(narrowing),
                )
            page = await self._ask(self._door().ListMessages, request)
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
        with _fitting():
            request = pb.ChatServiceSearchMessagesRequest(
                query=query,
                limit=limit,
                conversation=conversation,
                filter=None if narrowing is None else conversions.to_filter(narrowing),
                neighbours=neighbours,
                recency_half_life=recency_half_life,
            )
        answer = await self._ask(self._door().SearchMessages, request)
        return [conversions.from_hit(hit) for hit in answer.hits]

    async def export(self, conversation: str = "") -> AsyncIterator[Conversation | Message]:
        """Yields everything there is, or one conversation: each conversation, followed by its messages."""
        with _fitting():
            request = pb.ChatServiceExportMessagesRequest(conversation=conversation)
        call = self._door().ExportMessages(request, metadata=self._metadata)
        try:
            async for answer in call:
                match answer.record.WhichOneof("record"):
                    case "conversation":
                        yield conversions.from_conversation(answer.record.conversation)
                    case "message":
                        yield conversions.from_message(answer.record.message)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure, self.address) from None
        finally:
            call.cancel()

    async def delete_user_data(self, *, request_id: str | None = None) -> DeletedData:
        """Deletes everything the caller has, for good."""
        with _fitting():
            request = pb.ChatServiceDeleteUserDataRequest(request_id=request_id or _new_request_id())
        answer = await self._ask(self._door().DeleteUserData, request)
        return DeletedData(answer.conversation_count, answer.message_count)

    def _door(self) -> chat_service_pb2_grpc.ChatServiceAsyncStub:
        if self._owners_door is not None:
            return self._owners_door()
        if self._stub is None:
            raise ChatbotError("The client is not open: use it in an `async with` block.", reason="CLOSED")
        return self._stub

    async def _ask(self, call: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        try:
            return await call(request, metadata=self._metadata, timeout=self._timeout)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure, self.address) from None

    def _reply(
        self, call: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request, timeout: float | None
    ) -> Reply:
        def open_call() -> ReplyCall:
            return cast("ReplyCall", call(request, metadata=self._metadata, timeout=timeout))

        return Reply(open_call, self.address)


def _identity(user: str | None) -> tuple[tuple[str, bytes], ...]:
    return ((USER_METADATA_KEY, user.encode()),) if user is not None else ()


def _new_request_id() -> str:
    return str(uuid.uuid4())


@contextlib.contextmanager
def _fitting() -> Iterator[None]:
    """Turns what protobuf says of a value that does not fit its field into an error of ours."""
    try:
        yield
    except UnicodeError:
        raise InvalidArgument("A text of the request is no valid Unicode.") from None
    except ValueError:
        raise InvalidArgument("A number of the request is out of its field's range.") from None
