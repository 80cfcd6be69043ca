"""The three services with the real model and the real embedder, over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.inference_service_pb2_grpc import InferenceServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub
from services.rpc.channel import open_channel
from tests.e2e.stack import SERVICES, Doors, Stack, free_ports


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The services, started once; a test that stops one starts it again."""
    folder = tmp_path_factory.mktemp("stack")
    http_port, *ports = free_ports(1 + len(SERVICES))
    running = Stack(folder, dict(zip(SERVICES, ports, strict=True)), http_port)
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
async def doors(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[Doors]:
    """Channels of the test's own, as a user of its own."""
    async with contextlib.AsyncExitStack() as open_channels:
        channels = {
            name: await open_channels.enter_async_context(open_channel(f"127.0.0.1:{port}"))
            for name, port in stack.ports.items()
        }
        yield Doors(
            ChatServiceStub(channels["gateway"]),
            MemoryServiceStub(channels["memory"]),
            InferenceServiceStub(channels["inference"]),
            request.node.name,
        )
