"""The client: one method a call of `chatbot.v1.ChatService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatbot.v1 import chat_service_pb2 as pb
from client import conversions
from client.connection import Connection, Wire
from client.history_calls import HistoryCalls
from client.requests import fitting, new_request_id

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from client.channel import Tls
    from client.reply import Reply
    from client.values import Context, Model, RecallConfig, SamplingConfig


class ChatClient(HistoryCalls):
    """A client of the chat backend, for one event loop. An async context manager.

    Every method raises `ChatbotError`. Every write carries a `request_id`, a fresh one where none is given, so
    that what was tried again after a broken connection is carried out once.

    Args:
        address: `host:port` of the gateway, or any gRPC target.
        user: Who calls, where the backend takes the caller's word for it; None: its single local user.
        api_key: What proves who calls, where the backend asks for a key.
        tls: How the connection is encrypted; None: it is not.
        timeout: Longest time in seconds for every call but `chat`, `regenerate` and `export`; None: no limit.

    Raises:
        InvalidArgument: The key would be readable on the way: without TLS it goes nowhere but to this machine.
    """

    def __init__(
        self,
        address: str,
        user: str | None = None,
        *,
        api_key: str | None = None,
        tls: Tls | None = None,
        timeout: float | None = 60.0,
    ) -> None:
        super().__init__(Connection(Wire(address, tls), user, api_key, timeout))
        self.address = address
        self._owns_wire = True

    async def __aenter__(self) -> Self:
        self._connection.wire.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        if self._owns_wire:
            await self._connection.wire.close()

    async def until_connected(self) -> None:
        """Waits, without an end, until the backend is reached; for whoever found it gone."""
        await self._connection.wire.until_connected()

    async def until_lost(self) -> None:
        """Waits, without an end, until the backend cannot be reached."""
        await self._connection.wire.until_lost()

    def as_user(self, user: str | None) -> ChatClient:
        """Returns a client of another user over this one's connection, which is open as long as this one is.

        Args:
            user: Who calls; None: the backend's single local user.
        """
        other = ChatClient(self.address)
        other._connection, other._owns_wire = self._connection.of_user(user), False
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
        with fitting():
            request = pb.ChatRequest(
                conversation=conversation,
                text=text,
                request_id=request_id or new_request_id(),
                sampling=None if sampling is None else conversions.to_sampling(sampling),
                recall=None if recall is None else conversions.to_recall(recall),
            )
        return self._connection.reply(self._connection.wire.door().Chat, request, timeout)

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
        with fitting():
            request = pb.RegenerateRequest(
                conversation=conversation,
                request_id=request_id or new_request_id(),
                sampling=None if sampling is None else conversions.to_sampling(sampling),
                recall=None if recall is None else conversions.to_recall(recall),
            )
        return self._connection.reply(self._connection.wire.door().Regenerate, request, timeout)

    async def get_context(self, text: str, *, conversation: str = "", recall: RecallConfig | None = None) -> Context:
        """Returns the prompt that `chat` would build for a text. Stores nothing."""
        with fitting():
            request = pb.GetContextRequest(
                conversation=conversation,
                text=text,
                recall=None if recall is None else conversions.to_recall(recall),
            )
        return conversions.from_context(await self._connection.ask(self._connection.wire.door().GetContext, request))

    async def get_model(self) -> Model:
        """Returns the model that answers."""
        answer = await self._connection.ask(self._connection.wire.door().GetModel, pb.ChatServiceGetModelRequest())
        return conversions.from_model(answer.model)
