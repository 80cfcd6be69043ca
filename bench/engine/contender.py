"""Whoever is measured: our service and its peers, each behind the same few calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bench.engine import measures
from bench.engine.measures import decode_observations, prefill_observations
from bench.engine.other_programs import other_programs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.engine.client import Client
    from bench.engine.server_process import ServerProcess
    from bench.engine.workload import Prompts, Workload
    from bench.result import Observation

DECODING = ("decode", "busy")
"""Kinds of steps in which replies are generated at the same time, the latter beside other programs."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to measure: `decode` 16."""

    kind: str
    """`decode`, `busy`, `chat`, `prefill`, `conversation` or `arrival`."""
    size: int = 0
    """Streams or tokens, where the kind has any."""

    def __str__(self) -> str:
        return f"{self.kind}/{self.size}" if self.size else self.kind


def steps(workload: Workload) -> list[Step]:
    """Returns what one round measures of each contender."""
    return [
        *(Step("decode", streams) for streams in workload.streams),
        *(Step("busy", streams) for streams in workload.busy_streams),
        Step("chat"),
        *(Step("prefill", length) for length in workload.prefills),
        Step("conversation"),
        Step("arrival"),
    ]


class Contender(Protocol):
    """One engine to measure."""

    name: str

    async def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            NotStarted: It cannot be measured here.
        """

    async def observe(self, step: Step, prompts: Prompts, workload: Workload) -> list[Observation]:
        """Measures one step; returns nothing where the contender has no such thing.

        Raises:
            RequestFailed: It did not answer.
        """

    def pause(self) -> None:
        """Holds it still."""

    def resume(self) -> None:
        """Lets it go on."""

    async def stop(self) -> None:
        """Ends it."""


class Served:
    """A contender that is asked through its server.

    Args:
        name: As results call it.
        process: Its server.
        connect: Makes a client of it.
        ready: Tells whether the server answers.
        start_seconds: Longest time that it may take to start.
    """

    def __init__(
        self,
        name: str,
        process: ServerProcess,
        connect: Callable[[], Client],
        ready: Callable[[], Awaitable[bool]],
        start_seconds: float,
    ) -> None:
        self.name = name
        self._process = process
        self._connect = connect
        self._ready = ready
        self._start_seconds = start_seconds

    async def start(self) -> None:
        """As `Contender.start`."""
        await self._process.start()
        await self._process.wait_until(self._ready, self._start_seconds)

    async def observe(self, step: Step, prompts: Prompts, workload: Workload) -> list[Observation]:
        """As `Contender.observe`."""
        # A connection for each step: one that was idle while the server was held still may be taken for dead.
        client = self._connect()
        try:
            if step.kind in DECODING:
                stories = [prompts.story() for _ in range(step.size)]
                with other_programs(workload.others if step.kind == "busy" else 0):
                    return await measures.decode(client, f"{step}", stories, workload.reply)
            if step.kind == "chat":
                return await measures.chat(client, prompts, workload)
            if step.kind == "prefill":
                return await measures.prefill(client, prompts.long(step.size))
            if step.kind == "conversation":
                return await measures.conversation(client, prompts, workload)
            return await measures.arrival(client, prompts, workload)
        finally:
            await client.close()

    def pause(self) -> None:
        """As `Contender.pause`."""
        self._process.pause()

    def resume(self) -> None:
        """As `Contender.resume`."""
        self._process.resume()

    async def stop(self) -> None:
        """As `Contender.stop`."""
        await self._process.stop()


class InProcess:
    """A contender without a server: a program that answers one line of JSON for each on its input.

    It has neither conversations nor arrivals: it is given a batch and returns when all of it is done.
    """

    def __init__(self, name: str, process: ServerProcess) -> None:
        self.name = name
        self._process = process

    async def start(self) -> None:
        """As `Contender.start`."""
        await self._process.start()
        await self._ask([(1, 2, 3)], 2)

    async def observe(self, step: Step, prompts: Prompts, workload: Workload) -> list[Observation]:
        """As `Contender.observe`."""
        if step.kind in DECODING:
            with other_programs(workload.others if step.kind == "busy" else 0):
                answer = await self._ask([prompts.story() for _ in range(step.size)], workload.reply)
            return decode_observations(
                f"{step}",
                seconds=answer["seconds"],
                tokens=answer["tokens"],
                firsts=answer["firsts"],
                asked=workload.reply,
            )
        if step.kind == "prefill":
            answer = await self._ask([prompts.long(step.size)], 1)
            return prefill_observations(step.size, answer["seconds"])
        return []

    def pause(self) -> None:
        """As `Contender.pause`."""
        self._process.pause()

    def resume(self) -> None:
        """As `Contender.resume`."""
        self._process.resume()

    async def stop(self) -> None:
        """As `Contender.stop`."""
        await self._process.stop()

    async def _ask(self, prompts: list[tuple[int, ...]], max_tokens: int) -> dict[str, Any]:
        return await self._process.ask({"prompts": prompts, "max_tokens": max_tokens})
