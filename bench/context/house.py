"""The three services in this process, on real connections, with the real model and the real search."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub
from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.channel import open_channel
from services.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from chatbot.v1.chat_service_pb2_grpc import ChatServiceAsyncStub
    from chatbot.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub
    from services.rpc.server import Service
    from services.rpc.settings import CommonSettings

_SEARCH_WAIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class House:
    """Stubs of the running services."""

    chat: ChatServiceAsyncStub
    memory: MemoryServiceAsyncStub


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    *,
    model: str,
    embedder: str,
    context_tokens: int | None = None,
    summaries: str = "off",
) -> AsyncIterator[House]:
    """Starts all three services on a folder, and stops them at the end.

    Args:
        folder: For the database and the converted model.
        model: As `CHATBOT_MODEL`.
        embedder: As `CHATBOT_EMBEDDER`.
        context_tokens: As `CHATBOT_CONTEXT_TOKENS`.
        summaries: As `CHATBOT_SUMMARIES`.
    """
    async with contextlib.AsyncExitStack() as running:

        async def run(service: Service, settings: CommonSettings) -> str:
            server = Server(service, settings)
            await server.bind()
            running.push_async_callback(server.stop, 0)
            await server.start()
            return f"127.0.0.1:{server.port}"

        common: dict[str, Any] = {"data_dir": folder}
        inference_settings = InferenceSettings.model_validate(
            {**common, "inference_grpc_port": 0, "model": model, "context_tokens": context_tokens}
        )
        memory_settings = MemorySettings.model_validate(
            {**common, "memory_grpc_port": 0, "embedder": embedder, "search_wait_seconds": _SEARCH_WAIT_SECONDS}
        )
        inference = await run(InferenceService(inference_settings), inference_settings)
        memory = await run(MemoryService(memory_settings), memory_settings)
        settings = GatewaySettings.model_validate(
            {
                **common,
                "gateway_grpc_port": 0,
                "gateway_http_port": 0,
                "memory_address": memory,
                "inference_address": inference,
                "memory_timeout_seconds": _SEARCH_WAIT_SECONDS,
                "summaries": summaries,
            }
        )
        gateway = await run(GatewayService(settings), settings)
        chat, log = [await running.enter_async_context(open_channel(address)) for address in (gateway, memory)]
        yield House(ChatServiceStub(chat), MemoryServiceStub(log))
