"""The gateway with the real memory and inference services behind it, their models scripted, all over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub
from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.engine.fake import FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.channel import open_channel
from services.rpc.server import Server
from tests.contract.gateway.house import House


@pytest.fixture
def engine() -> FakeEngine:
    """The engine of the house; a test module overrides it to script other replies."""
    return FakeEngine()


@pytest.fixture
def gateway_settings() -> dict[str, object]:
    """Settings of the gateway besides where everything is; a test module overrides it."""
    return {}


@pytest.fixture
async def house(tmp_path: Path, engine: FakeEngine, gateway_settings: dict[str, object]) -> AsyncIterator[House]:
    async with contextlib.AsyncExitStack() as running:

        async def run(service: object, settings: object) -> Server:
            server = Server(service, settings)
            await server.bind()
            running.push_async_callback(server.stop, 0)
            await server.start()
            return server

        inference_settings = InferenceSettings(data_dir=tmp_path, inference_grpc_port=0)
        memory_settings = MemorySettings(data_dir=tmp_path, memory_grpc_port=0)
        servers = {
            "inference": await run(
                InferenceService(inference_settings, load_engine=lambda *_: engine), inference_settings
            ),
            "memory": await run(
                MemoryService(memory_settings, embedder=EmbedderThreads(FakeEmbedder())), memory_settings
            ),
        }
        settings = GatewaySettings(
            data_dir=tmp_path,
            gateway_grpc_port=0,
            gateway_http_port=0,
            memory_address=f"127.0.0.1:{servers['memory'].port}",
            inference_address=f"127.0.0.1:{servers['inference'].port}",
            reply_reserve_tokens=50,
            **gateway_settings,
        )
        gateway = GatewayService(settings)
        servers["gateway"] = await run(gateway, settings)
        channels = {
            name: await running.enter_async_context(open_channel(f"127.0.0.1:{server.port}"))
            for name, server in servers.items()
        }
        yield House(
            engine,
            servers,
            ChatServiceStub(channels["gateway"]),
            MemoryServiceStub(channels["memory"]),
            gateway.http.address,
        )


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the house's HTTP door."""
    async with httpx.AsyncClient(base_url=house.http_address, timeout=30) as client:
        yield client
