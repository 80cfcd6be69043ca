"""A connection that takes its time to open, because the other side is busy or far away, is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from client import channel as client_channel
from services.rpc import channel as services_channel
from services.rpc.wait import Target, wait_until_serving

ANSWER_SECONDS = 0.5
"""Longer than any pause between two attempts to connect."""


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    with contextlib.suppress(ConnectionError), contextlib.closing(writer):
        await asyncio.sleep(seconds)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def far() -> AsyncIterator[str]:
    """The address of a server whose first answer takes long."""
    server = grpc.aio.server()
    add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, forth, 0), carry(back, writer, ANSWER_SECONDS))

    between = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with between:
        yield f"127.0.0.1:{between.sockets[0].getsockname()[1]}"
        await server.stop(0)


@pytest.mark.parametrize("room", [services_channel, client_channel])
async def test_a_call_waits_for_a_connection_that_opens_slowly(far: str, room):
    async with room.open_channel(far) as channel:
        answer = await HealthStub(channel).Check(HealthCheckRequest(), timeout=60)
    assert answer.status == HealthCheckResponse.SERVING


async def test_a_start_waits_for_a_connection_that_opens_slowly(far: str):
    async with asyncio.timeout(60):
        await wait_until_serving(Target("far", far, ""))
