"""The memory service as a process of its own, and one client of it."""

from __future__ import annotations

import sys
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil
from grpc.aio import AioRpcError

from bench.engine.server_process import ServerProcess, free_port
from bench.result import Observation
from chatbot.v1 import chat_message_pb2, memory_service_pb2, memory_service_pb2_grpc
from services.rpc.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from pathlib import Path

    from chatbot.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub

_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Client:
    """One client's connection to a service."""

    stub: MemoryServiceAsyncStub
    pid: int
    """Of the service."""

    async def conversation(self, user_id: str) -> str:
        """Starts a conversation and returns its name."""
        request = memory_service_pb2.CreateConversationRequest(user_id=user_id, request_id=str(uuid.uuid4()))
        name: str = (await self.stub.CreateConversation(request)).conversation.name
        return name

    async def append(self, user_id: str, conversation: str, texts: Sequence[str]) -> None:
        """Appends a person's messages."""
        await self.stub.AppendMessages(
            memory_service_pb2.AppendMessagesRequest(
                user_id=user_id,
                conversation=conversation,
                messages=[
                    chat_message_pb2.ChatMessage(role=chat_message_pb2.ROLE_USER, content=text) for text in texts
                ],
                request_id=str(uuid.uuid4()),
            )
        )

    async def search(self, user_id: str, query: str) -> list[str]:
        """Returns the texts of the best ten hits."""
        request = memory_service_pb2.SearchMessagesRequest(user_id=user_id, query=query)
        return [hit.message.content for hit in (await self.stub.SearchMessages(request)).hits]

    def resident_bytes(self) -> int:
        """Returns how much memory the service has, with its embedder's process."""
        service = psutil.Process(self.pid)
        return sum(process.memory_info().rss for process in (service, *service.children(recursive=True)))


@asynccontextmanager
async def serving(folder: Path, *, messages: str = "embedded", queries: str = "embedded") -> AsyncIterator[Client]:
    """Runs the service on a folder.

    Args:
        folder: Its data folder.
        messages: `embedded` by the model, or `random` vectors.
        queries: Likewise.
    """
    port = free_port()
    command = [sys.executable, "-m", "bench.memory.service", str(port), str(folder), messages, queries]
    process = ServerProcess(command, folder.with_name(f"{folder.name}.log"))
    await process.start()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            stub = memory_service_pb2_grpc.MemoryServiceStub(channel)

            async def ready() -> bool:
                try:
                    await stub.ListConversations(memory_service_pb2.ListConversationsRequest(user_id="nobody"))
                except AioRpcError:
                    return False
                return True

            await process.wait_until(ready, _START_SECONDS)
            yield Client(stub, process.process.pid)
    finally:
        await process.stop()


async def timed(call: Awaitable[object]) -> float:
    """Returns how many milliseconds a call took."""
    began = time.perf_counter()
    await call
    return 1000 * (time.perf_counter() - began)


def quantiles(measure: str, times: Sequence[float], percents: Sequence[int] = (50, 95, 99)) -> list[Observation]:
    """Returns quantiles of milliseconds."""
    return [Observation(measure, f"p{percent}", "ms", float(np.percentile(times, percent))) for percent in percents]
