"""The three services as processes of their own, and what tests reach them with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.inference_service_pb2_grpc import InferenceServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub

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
    http_port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def environment(self) -> dict[str, str]:
        ports = {f"CHATBOT_{name.upper()}_GRPC_PORT": str(port) for name, port in self.ports.items()}
        paths = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
        environment = {**os.environ, "PYTHONPATH": paths, "CHATBOT_DATA_DIR": str(self.data_dir), **ports}
        environment["CHATBOT_GATEWAY_HTTP_PORT"] = str(self.http_port)
        # Without compiled files on the disk every start compiles torch anew.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment

    def start(self, *names: str) -> None:
        for name in names or SERVICES:
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", f"services.{name}", "--exit-with-parent"],
                    cwd=ROOT,
                    env=self.environment(),
                    stdin=subprocess.PIPE,
                    stderr=log,
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
            self.processes[name].communicate(timeout=60)


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


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Waits until an async condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)
