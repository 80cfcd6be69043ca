"""The wire under `ChatClient`: one channel, who calls, and what calls fail with."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import grpc

from chatbot.v1 import chat_service_pb2_grpc
from client.channel import open_channel, stays_on_this_machine
from client.errors import ChatbotError, InvalidArgument, from_rpc_error
from client.reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from client.channel import Tls
    from client.reply import ReplyCall

USER_METADATA_KEY = "x-user-id-bin"
"""Call metadata that says who calls: UTF-8 bytes, so that a name may be of any script."""

KEY_METADATA_KEY = "authorization"
"""Call metadata that proves who calls: `Bearer KEY`."""

Request = TypeVar("Request")
Response = TypeVar("Response")


class Wire:
    """A channel that is opened and closed, shared by clients of several users.

    Args:
        address: `host:port` of the gateway, or any gRPC target.
        tls: How it is encrypted; None: it is not.
    """

    def __init__(self, address: str, tls: Tls | None) -> None:
        self.address = address
        self.tls = tls
        self._channel: grpc.aio.Channel | None = None
        self._stub: chat_service_pb2_grpc.ChatServiceAsyncStub | None = None

    def open(self) -> None:
        """Opens the channel on the running event loop. Nothing is sent yet."""
        try:
            self._channel = open_channel(self.address, self.tls)
        except OSError as failure:
            file = self.tls.ca_file if self.tls is not None else None
            raise InvalidArgument(f"{file} cannot be read ({failure.strerror}).", reason="NO_CA_FILE") from None
        self._stub = chat_service_pb2_grpc.ChatServiceStub(self._channel)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close()

    def door(self) -> chat_service_pb2_grpc.ChatServiceAsyncStub:
        """Returns the service's stub.

        Raises:
            ChatbotError: The channel is not open.
        """
        if self._stub is None:
            raise self._not_open()
        return self._stub

    async def until_connected(self) -> None:
        """Waits, without an end, until the other side is reached."""
        if self._channel is None:
            raise self._not_open()
        await self._channel.channel_ready()

    async def until_lost(self) -> None:
        """Waits, without an end, until the other side cannot be reached: whoever is idle is not lost."""
        if self._channel is None:
            raise self._not_open()
        while (state := self._channel.get_state(try_to_connect=True)) != grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            await self._channel.wait_for_state_change(state)

    @staticmethod
    def _not_open() -> ChatbotError:
        return ChatbotError("The client is not open: use it in an `async with` block.", reason="CLOSED")


class Connection:
    """A wire as one caller uses it.

    Args:
        wire: What the calls go over.
        user: Who calls, where the backend takes the caller's word; None: its single local user.
        api_key: What proves who calls.
        timeout: Longest time in seconds of a call with one answer; None: no limit.

    Raises:
        InvalidArgument: The key could be read on the way, or is none that metadata can carry.
    """

    def __init__(self, wire: Wire, user: str | None, api_key: str | None, timeout: float | None) -> None:
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key):
            raise InvalidArgument("The API key has characters that no key has.", reason="INVALID_API_KEY")
        if api_key and wire.tls is None and not stays_on_this_machine(wire.address):
            raise InvalidArgument(
                f"An API key is not sent to {wire.address} in the clear: use TLS.", reason="API_KEY_WITHOUT_TLS"
            )
        self.wire = wire
        self._api_key = api_key
        self._timeout = timeout
        self._metadata = (
            *(((USER_METADATA_KEY, user.encode()),) if user is not None else ()),
            *(((KEY_METADATA_KEY, f"Bearer {api_key}"),) if api_key else ()),
        )

    def of_user(self, user: str | None) -> Connection:
        """Returns the same wire as another user uses it."""
        return Connection(self.wire, user, self._api_key, self._timeout)

    async def ask(self, call: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Makes a call with one answer.

        Raises:
            ChatbotError: It failed.
        """
        try:
            return await call(request, metadata=self._metadata, timeout=self._timeout)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure, self.wire.address) from None

    async def stream(
        self, call: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncIterator[Response]:
        """Makes a call with many answers and yields them.

        Raises:
            ChatbotError: It failed.
        """
        answers = call(request, metadata=self._metadata)
        try:
            async for answer in answers:
                yield answer
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure, self.wire.address) from None
        finally:
            answers.cancel()

    def reply(
        self, call: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request, timeout: float | None
    ) -> Reply:
        """Returns the reply that a call will stream."""

        def open_call() -> ReplyCall:
            return cast("ReplyCall", call(request, metadata=self._metadata, timeout=timeout))

        return Reply(open_call, self.wire.address)
