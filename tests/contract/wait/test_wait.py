"""Waiting for services: against a real server whose health is turned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.rpc.wait import Target, is_serving, parse_target, wait_until_serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAME = "chatbot.v1.MemoryService"


@pytest.fixture
async def server() -> AsyncIterator[tuple[health.aio.HealthServicer, Target]]:
    servicer = health.aio.HealthServicer()
    await servicer.set(NAME, NOT_SERVING)
    running = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, running)
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    yield servicer, Target("memory", f"127.0.0.1:{port}", NAME)
    await running.stop(None)


async def test_a_service_is_waited_for_until_it_serves(server):
    servicer, target = server
    waiting = asyncio.create_task(wait_until_serving(target))
    assert not await is_serving(target)
    assert not waiting.done()
    await servicer.set(NAME, SERVING)
    await asyncio.wait_for(waiting, 20)
    assert await is_serving(target)


async def test_a_server_that_is_not_up_yet_is_waited_for(unused_tcp_port):
    target = Target("memory", f"127.0.0.1:{unused_tcp_port}", NAME)
    waiting = asyncio.create_task(wait_until_serving(target))
    assert not await is_serving(target)
    servicer = health.aio.HealthServicer()
    await servicer.set(NAME, SERVING)
    running = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, running)
    running.add_insecure_port(target.address)
    await running.start()
    await asyncio.wait_for(waiting, 20)
    await running.stop(None)


async def test_another_service_on_the_port_is_not_the_one_waited_for(server):
    servicer, target = server
    await servicer.set("", SERVING)
    assert not await is_serving(Target("gateway", target.address, "chatbot.v1.ChatService"))


def test_a_target_is_read():
    assert parse_target("memory=[::1]:50052/a.B") == Target("memory", "[::1]:50052", "a.B")


@pytest.mark.parametrize("text", ["", "memory", "memory=127.0.0.1:1", "=a/b", "a=/b", "a=b/"])
def test_what_is_no_target_is_refused(text):
    with pytest.raises(ValueError, match="name=host:port/service"):
        parse_target(text)
