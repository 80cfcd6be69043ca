"""The three services as processes of their own, with the real model and the real embedder, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.inference_service_pb2_grpc import InferenceServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from services.rpc.channel import open_channel

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("memory", "inference", "gateway")
START_SECONDS = 120.0
"""The first start converts the model; nothing is asserted about how long that takes."""


def free_ports(count: int) -> list[int]:
    """Returns ports that were free a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Stack:
    """The running services, and their ports, logs and data."""

    folder: Path
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def environment(self) -> dict[str, str]:
        ports = {f"CHATBOT_{name.upper()}_GRPC_PORT": str(port) for name, port in self.ports.items()}
        paths = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
        return {**os.environ, "PYTHONPATH": paths, "CHATBOT_DATA_DIR": str(self.data_dir), **ports}

    def start(self, *names: str) -> None:
        for name in names or SERVICES:
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", f"services.{name}"], cwd=ROOT, env=self.environment(), stderr=log
                )
        for name in names or SERVICES:
            self._wait_until_serving(name)

    def _wait_until_serving(self, name: str) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[name]}") as channel:
            stub = HealthStub(channel)
            while time.monotonic() < give_up_at:
                if self.processes[name].poll() is not None:
                    pytest.fail(f"{name} stopped while starting:\n{self.log(name)}")
                with contextlib.suppress(grpc.RpcError):
                    if stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING:
                        return
                time.sleep(0.05)
        pytest.fail(f"{name} did not come up:\n{self.log(name)}")

    def stop(self, *names: str) -> None:
        """Asks services to stop, and waits until they have."""
        self._end(signal.SIGTERM, names or SERVICES)

    def kill(self, *names: str) -> None:
        """Kills services as a power cut would."""
        self._end(signal.SIGKILL, names or SERVICES)

    def _end(self, number: signal.Signals, names: tuple[str, ...]) -> None:
        for name in names:
            self.processes[name].send_signal(number)
        for name in names:
            self.processes[name].wait(60)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The services, started once; a test that stops one starts it again."""
    folder = tmp_path_factory.mktemp("stack")
    running = Stack(folder, dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True)))
    try:
        running.start()
        yield running
    finally:
        for process in running.processes.values():
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Doors:
    """Stubs of all three services, and the metadata that names the test's own user."""

    chat: ChatServiceStub
    memory: MemoryServiceStub
    inference: InferenceServiceStub
    user_id: str

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("x-user-id-bin", self.user_id.encode()),)


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


async def until(condition, seconds: float = 30.0) -> None:
    """Waits until an async condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)
