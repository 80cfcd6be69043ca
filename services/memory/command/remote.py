"""A running memory service, for the commands that can work through one."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from chatbot.v1 import memory_service_pb2 as pb
from chatbot.v1 import memory_service_pb2_grpc
from services.memory.conversation import Counts
from services.memory.resource_name import conversation_name
from services.rpc.channel import open_channel
from services.rpc.errors import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_SECONDS = 60.0
"""For a deletion, which is one transaction, or for counting all rows; a stream may take as long as it moves."""


class Remote:
    """One service. All calls raise the ChatbotError that it answers with."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = memory_service_pb2_grpc.MemoryServiceStub(channel)

    async def records(self, user_id: str, conversation: str | None) -> AsyncIterator[pb.ExportRecord]:
        """Yields the export of a user, or of one of their conversations."""
        name = "" if conversation is None else conversation_name(conversation)
        try:
            async for response in self._stub.ExportMessages(
                pb.ExportMessagesRequest(user_id=user_id, conversation=name)
            ):
                yield response.record
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from None

    async def take_in(self, user_id: str, records: Iterable[pb.ExportRecord]) -> Counts:
        """Imports records, all or none."""

        async def parts() -> AsyncIterator[pb.ImportMessagesRequest]:
            header = pb.ImportMessagesRequest.Header(user_id=user_id, request_id=str(uuid.uuid4()))
            yield pb.ImportMessagesRequest(header=header)
            for record in records:
                yield pb.ImportMessagesRequest(record=record)

        try:
            done = await self._stub.ImportMessages(parts())
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from None
        return Counts(done.conversation_count, done.message_count)

    async def forget(self, user_id: str) -> Counts:
        """Deletes everything of a user."""
        request = pb.DeleteUserDataRequest(user_id=user_id, request_id=str(uuid.uuid4()))
        try:
            done = await self._stub.DeleteUserData(request, timeout=_SECONDS)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from None
        return Counts(done.conversation_count, done.message_count)

    async def status(self) -> pb.GetStatusResponse:
        """Returns how much there is, and how far the work on it has come."""
        try:
            return await self._stub.GetStatus(pb.GetStatusRequest(), timeout=_SECONDS)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from None


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Remote]:
    """Lends the service at an address. A call finds out whether it is there."""
    async with open_channel(address) as channel:
        yield Remote(channel)
