"""The services behind the gateway, as it calls them: deadlines set, failures turned into our errors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1.inference_service_pb2_grpc import InferenceServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub
from services.rpc import errors
from services.rpc.channel import CALLER_HEADER, PIN_HEADER, open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from chatbot.v1.chat_message_pb2 import ChatMessage
    from services.gateway.settings import GatewaySettings

_TEXTS_AT_ONCE = 200
_LETTER = "a"
"""One token, besides the opening one that some models begin every text with."""

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts that begin alike, as the inference service learns of them.

    Attributes:
        cache_key: What was computed for them is found again by this key, and by no other.
        pin: Decides which replica has it.
    """

    cache_key: str
    pin: str

    @classmethod
    def of(cls, user_id: str, conversation: str) -> Prompts:
        """Returns those of a conversation, which is known by its name and, where it has none yet, by whose it is."""
        return cls(hashlib.sha256(f"{user_id}\0{conversation}".encode()).hexdigest(), conversation or user_id)


class MemoryPeer:
    """The memory service."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float) -> None:
        self.stub = MemoryServiceStub(channel)
        self._timeout = timeout

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        time_left: float | None = None,
    ) -> ResponseT:
        """Calls one of the stub's methods.

        Args:
            method: Such as `peer.stub.GetConversation`.
            request: Its request.
            time_left: Seconds that the gateway's own caller gives; None: no bound.

        Raises:
            ChatbotError: What the service answered, or MemoryUnavailable.
        """
        try:
            return await method(request, timeout=_least(self._timeout, time_left))
        except grpc.aio.AioRpcError as failure:
            raise _memory_error(failure) from None

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT],
        request: RequestT,
        time_left: float | None,
    ) -> AsyncGenerator[ResponseT, None]:
        """Calls one of the stub's streaming methods; errors as for `call`."""
        call = method(request, timeout=time_left)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as failure:
            raise _memory_error(failure) from None
        finally:
            call.cancel()


class InferencePeer:
    """The inference service."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float) -> None:
        self._stub = InferenceServiceStub(channel)
        self._timeout = timeout

    async def model(self, time_left: float | None = None) -> inference_pb.Model:
        """Returns the model that answers."""
        return (await self._call(self._stub.GetModel, inference_pb.GetModelRequest(), time_left)).model

    async def count_messages(
        self,
        messages: Sequence[ChatMessage],
        prompts: Prompts,
        time_left: float | None,
        form: inference_pb.ResponseFormat | None = None,
    ) -> inference_pb.CountTokensResponse:
        """Counts the tokens of a conversation as `generate` would render it, and checks the form of the reply to it."""
        request = inference_pb.CountTokensRequest(
            messages=inference_pb.ChatMessages(messages=messages), response_format=form, cache_key=prompts.cache_key
        )
        return await self.count(request, prompts.pin, time_left)

    async def count(
        self, request: inference_pb.CountTokensRequest, pin: str, time_left: float | None
    ) -> inference_pb.CountTokensResponse:
        """Counts the tokens of a prompt, and tells how many the context holds.

        Args:
            request: What to count.
            pin: As for `generate`: that replica has counted most of it before.
            time_left: Seconds that the gateway's own caller gives; None: no bound.
        """
        return await self._call(self._stub.CountTokens, request, time_left, _pinned(pin))

    async def count_texts(self, texts: Sequence[str], prompts: Prompts, time_left: float | None) -> list[int]:
        """Counts the tokens of each text as a part of something longer, so without a model's opening token."""
        if not texts:
            return []
        counted = [_LETTER, *texts]
        counts: list[int] = []
        for start in range(0, len(counted), _TEXTS_AT_ONCE):
            some = inference_pb.Texts(texts=counted[start : start + _TEXTS_AT_ONCE])
            request = inference_pb.CountTokensRequest(texts=some, cache_key=prompts.cache_key)
            counts += (await self.count(request, prompts.pin, time_left)).message_tokens
        opening = max(counts[0] - 1, 0)
        return [count - opening for count in counts[1:]]

    async def generate(
        self, request: inference_pb.GenerateRequest, user_id: str | None, pin: str, time_left: float | None
    ) -> AsyncGenerator[inference_pb.GenerateResponse, None]:
        """Streams a reply; closing the iterator stops the model.

        The pin, a conversation mostly, decides which replica it goes to, so that its KV cache is found again; whose it
        is, whose turn it is where requests wait. The service learns neither: both are hashed. What nobody waits for
        (`user_id` is None) is one caller together, whoever's it is.

        Raises:
            ChatbotError: What the service answered; EngineLost or InferenceUnavailable where it broke off.
        """
        caller = b"background" if user_id is None else b"caller\0" + user_id.encode()
        user = hashlib.sha256(caller).hexdigest()
        call = self._stub.Generate(request, timeout=time_left, metadata=(*_pinned(pin), (CALLER_HEADER, user)))
        try:
            async for event in call:
                yield event
        except grpc.aio.AioRpcError as failure:
            raise _inference_error(failure) from None
        finally:
            call.cancel()

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        time_left: float | None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> ResponseT:
        try:
            return await method(request, timeout=_least(self._timeout, time_left), metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            raise _inference_error(failure) from None


class Peers:
    """Both services and the channels to them. To be made on the event loop that uses it."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._memory_channel = open_channel(settings.memory_address or f"127.0.0.1:{settings.memory_grpc_port}")
        self._inference_channel = open_channel(
            settings.inference_address or f"127.0.0.1:{settings.inference_grpc_port}", pin_by_header=True
        )
        self.memory = MemoryPeer(self._memory_channel, settings.memory_timeout_seconds)
        self.inference = InferencePeer(self._inference_channel, settings.inference_timeout_seconds)

    async def check_memory(self, time_left: float) -> None:
        """Returns where the memory service serves.

        Raises:
            MemoryUnavailable: It does not.
        """
        stub: Any = HealthStub(self._memory_channel)  # its type stubs name no methods
        try:
            answer = await stub.Check(HealthCheckRequest(), timeout=time_left)
        except grpc.aio.AioRpcError as failure:
            raise _memory_error(failure) from None
        if answer.status != HealthCheckResponse.SERVING:
            raise errors.MemoryUnavailable("The memory service does not serve yet.", retry_after=1.0)

    async def close(self) -> None:
        """Closes the channels."""
        await self._memory_channel.close()
        await self._inference_channel.close()


def _pinned(pin: str) -> tuple[tuple[str, str], ...]:
    # A resource name is ASCII, but whose form is checked elsewhere; a header must be, so it is hashed.
    return ((PIN_HEADER, hashlib.sha256(pin.encode()).hexdigest()),)


def _least(timeout: float, time_left: float | None) -> float:
    return timeout if time_left is None else min(timeout, time_left)


def _memory_error(failure: grpc.aio.AioRpcError) -> errors.ChatbotError:
    return _peer_error(failure, errors.MemoryUnavailable("The memory service does not answer.", retry_after=1.0))


def _inference_error(failure: grpc.aio.AioRpcError) -> errors.ChatbotError:
    return _peer_error(failure, errors.InferenceUnavailable("The inference service does not answer.", retry_after=1.0))


def _peer_error(failure: grpc.aio.AioRpcError, unavailable: errors.Unavailable) -> errors.ChatbotError:
    error = errors.from_rpc_error(failure)
    if error.reason == errors.Unavailable.reason:
        return unavailable
    if failure.code() is grpc.StatusCode.CANCELLED:
        # Not by us: our own cancel arrives as CancelledError. The connection went down under the call.
        return unavailable
    return error
