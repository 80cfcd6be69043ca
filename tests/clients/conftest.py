"""The client programs of docs/clients, built, and a real backend that they talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from chatbot.v1.chat_service_pb2 import ChatServiceDeleteUserDataRequest
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from services.rpc.channel import open_channel
from tests.clients.forwarding_gateway import ForwardingGateway
from tests.clients.programs import LANGUAGES, Program, build
from tests.e2e.stack import SERVICES, Stack, free_ports


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three services with the real model."""
    *ports, http_port = free_ports(len(SERVICES) + 1)
    running = Stack(tmp_path_factory.mktemp("stack"), dict(zip(SERVICES, ports, strict=True)), http_port)
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
async def channel(stack: Stack) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the gateway."""
    async with open_channel(f"127.0.0.1:{stack.ports['gateway']}") as opened:
        yield opened


@pytest.fixture
async def chat(channel: grpc.aio.Channel) -> ChatServiceStub:
    """The gateway, with nothing stored: what was said earlier would be recalled."""
    stub = ChatServiceStub(channel)
    await stub.DeleteUserData(ChatServiceDeleteUserDataRequest())
    return stub


@pytest.fixture
async def gateway(channel: grpc.aio.Channel) -> ForwardingGateway:
    """Where the programs' calls are noted on their way."""
    return ForwardingGateway(channel)


@pytest.fixture
async def address(gateway: ForwardingGateway) -> AsyncIterator[str]:
    """Where the programs call."""
    server = grpc.aio.server(handlers=[gateway], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.fixture(scope="session", params=LANGUAGES)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program in one language after the other."""
    language: str = request.param
    folder: Path = tmp_path_factory.mktemp(language)
    return build(language, folder)
