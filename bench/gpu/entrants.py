"""Who is measured on a GPU, each behind the same few calls; one at a time, as the memory of one GPU is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bench import GENERATED
from bench.engine import measures
from bench.engine.grpc_client import GrpcClient
from bench.engine.measures import decode_observations
from bench.engine.server_process import ServerProcess, free_port
from services.rpc.wait import Target, is_serving

if TYPE_CHECKING:
    from pathlib import Path

    from bench.result import Observation

    Prompts = list[tuple[int, ...]]

OURS = "ours"
ALONE = "ours, engine alone"
FUSED = "ours, engine alone, fused"

_START_SECONDS = 150.0
_CONTEXT = 4096
"""Most tokens of prompt and reply together: more than is asked for, as for whoever serves conversations."""


@dataclass(frozen=True, slots=True)
class Place:
    """What they are started with."""

    folder: Path
    """The model."""
    logs: Path
    device: str
    streams: int
    """Most replies at the same time."""
    threads: int

    def log(self, name: str) -> Path:
        """Returns the file that one's log goes to."""
        return self.logs / f"{name.replace(',', '').replace(' ', '-')}.log"


class Entrant(Protocol):
    """Whoever is measured."""

    name: str

    async def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            NotStarted, RequestFailed: It cannot be measured here.
        """

    async def decode(self, prompts: Prompts, reply: int) -> list[Observation]:
        """Generates replies that all arrive at once.

        Raises:
            RequestFailed: It did not answer.
        """

    async def stop(self) -> None:
        """Ends it."""


class Door:
    """Our service, `python -m services.inference`, asked over gRPC by this process."""

    def __init__(self, place: Place) -> None:
        self.name = OURS
        self._address = f"127.0.0.1:{free_port()}"
        environment = {
            "CHATBOT_INFERENCE_GRPC_PORT": self._address.rsplit(":", 1)[1],
            "CHATBOT_DATA_DIR": str(place.logs),
            "CHATBOT_MODEL": str(place.folder),
            "CHATBOT_DEVICE": place.device,
            "CHATBOT_CONTEXT_TOKENS": str(_CONTEXT),
            "CHATBOT_MAX_RUNNING_REQUESTS": str(place.streams),
            "CHATBOT_MAX_QUEUED_REQUESTS_PER_CALLER": str(place.streams),
            "PYTHONPATH": f"{GENERATED}:{sys.path[0]}",
        }
        command = (sys.executable, "-m", "services.inference", "--exit-with-parent")
        self._process = ServerProcess(command, place.log(self.name), environment)

    async def start(self) -> None:
        """As `Entrant.start`."""
        await self._process.start()
        target = Target(OURS, self._address, "")
        await self._process.wait_until(lambda: is_serving(target), _START_SECONDS)

    async def decode(self, prompts: Prompts, reply: int) -> list[Observation]:
        """As `Entrant.decode`."""
        client = GrpcClient(self._address)
        try:
            return await measures.decode(client, f"decode/{len(prompts)}", prompts, reply)
        finally:
            await client.close()

    async def stop(self) -> None:
        """As `Entrant.stop`."""
        await self._process.stop()


class Program:
    """A program that answers one line of JSON for each on its input."""

    def __init__(
        self, name: str, command: tuple[str, ...], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._process = ServerProcess((sys.executable, "-m", *command), log, environment, piped=True)

    async def start(self) -> None:
        """As `Entrant.start`."""
        await self._process.start()
        await self.ask({"prompts": [[1, 2, 3]], "max_tokens": 2})

    async def decode(self, prompts: Prompts, reply: int) -> list[Observation]:
        """As `Entrant.decode`."""
        answer = await self.ask({"prompts": prompts, "max_tokens": reply})
        return decode_observations(
            f"decode/{len(prompts)}",
            seconds=answer["seconds"],
            tokens=answer["tokens"],
            firsts=answer["firsts"],
            asked=reply,
        )

    async def stop(self) -> None:
        """As `Entrant.stop`."""
        await self._process.stop()

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Asks it.

        Raises:
            RequestFailed: It ended.
        """
        return await self._process.ask(question)


def alone(place: Place, *, fused: bool = False) -> Program:
    """Our engine without a door."""
    command = ("bench.gpu.engine_alone", str(place.folder), str(place.streams), place.device)
    name = FUSED if fused else ALONE
    environment = {"CHATBOT_FUSE_STEPS": "1" if fused else "0", "CHATBOT_CONTEXT_TOKENS": str(_CONTEXT)}
    return Program(name, command, place.log(name), environment)


def transformers(place: Place, way: str, weights: str) -> Program:
    """Transformers in process.

    Args:
        place: What it is started with.
        way: `generate` or `generate_batch`.
        weights: `bf16` or `bnb-int8`.
    """
    command = ("bench.engine.transformers_peer", way, str(place.folder), str(place.threads), place.device, weights)
    name = f"{way} {weights}"
    return Program(name, command, place.log(name))
