"""Waits until services serve: `python -m services.rpc.wait memory=127.0.0.1:50052/chatbot.v1.MemoryService …`.

Prints each name when its service turns SERVING and exits with 0 when all have. With `--once` it asks each once and
exits with 1 where one does not serve, which is what a container's health check needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ONCE_FLAG = "--once"
EXIT_WITH_PARENT_FLAG = "--exit-with-parent"

_RETRY_SECONDS = 0.03
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """One service whose health is asked."""

    name: str
    address: str
    """`host:port`."""
    service: str
    """Full gRPC name."""


def parse_target(text: str) -> Target:
    """Reads `name=host:port/service`. Raises ValueError where it is not of that form."""
    name, equals, rest = text.partition("=")
    address, slash, service = rest.partition("/")
    if not (equals and slash and name and address and service):
        raise ValueError(f"{text!r} is not of the form name=host:port/service")
    return Target(name, address, service)


async def is_serving(target: Target) -> bool:
    """Asks once."""
    async with _channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stubs name no methods
        request = health_pb2.HealthCheckRequest(service=target.service)
        try:
            answer = await stub.Check(request, timeout=_ANSWER_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def wait_until_serving(target: Target) -> None:
    """Watches until the answer is SERVING."""
    async with _channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stubs name no methods
        request = health_pb2.HealthCheckRequest(service=target.service)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for answer in stub.Watch(request, wait_for_ready=True):
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            await asyncio.sleep(_RETRY_SECONDS)


def _channel(target: Target) -> grpc.aio.Channel:
    # A service that is not up yet is tried again soon, not after gRPC's growing back-off.
    options = [(f"grpc.{name}_reconnect_backoff_ms", 50) for name in ("initial", "max")]
    # This one is how long an attempt may take: a service that is busy is given time.
    options.append(("grpc.min_reconnect_backoff_ms", 5_000))
    return grpc.aio.insecure_channel(target.address, options=[*options, ("grpc.enable_http_proxy", 0)])


async def _wait_and_tell(target: Target) -> None:
    await wait_until_serving(target)
    sys.stdout.write(f"{target.name}\n")
    sys.stdout.flush()


async def _main(targets: list[Target], once: bool) -> int:
    if once:
        return 0 if all(await asyncio.gather(*map(is_serving, targets))) else 1
    await asyncio.gather(*map(_wait_and_tell, targets))
    return 0


def _exit_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if EXIT_WITH_PARENT_FLAG in arguments:
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    sys.exit(asyncio.run(_main([parse_target(a) for a in arguments if not a.startswith("--")], ONCE_FLAG in arguments)))
