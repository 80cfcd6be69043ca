"""An embedder in a process of its own, so that neither holds Python's lock while the other has work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from itertools import count
from typing import TYPE_CHECKING, cast

import structlog
from typing_extensions import override

from services.memory.backoff import Backoff
from services.memory.embedder.async_embedder import AsyncEmbedder, Kind
from services.memory.embedder.away import EmbedderAway
from services.memory.embedder.embedder import Embedded
from services.memory.embedder.facts import EmbedderFacts
from services.memory.embedder.threads import settle
from services.memory.embedder.worker import Batched
from services.memory.embedder_process.frames import FrameReader
from services.memory.embedder_process.order import Order, Request
from services.rpc.errors import ShuttingDown
from services.rpc.log import where
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.memory.embedder_process.frames import Frame

_log = structlog.get_logger()

_LIVED_SECONDS = 60.0
"""A process that lived so long did not fail at its start."""
_LEAVE_SECONDS = 5.0
_AWAY = "The embedder's process has ended and is being started again."


class EmbedderProcess(AsyncEmbedder):
    """Embeds in another process, which is started again where it ends. Made by `start`.

    Args:
        order: What the process is to load.
        child: That has loaded it.
        facts: Of what it has loaded.
    """

    def __init__(self, order: Order, child: _Child, facts: EmbedderFacts) -> None:
        self.facts = facts
        self._order = order
        self._child: _Child | None = child
        self._closing = False
        self._keeping = asyncio.create_task(self._keep(child), name="memory-embedder")

    @classmethod
    async def start(cls, order: Order) -> EmbedderProcess:
        """Starts the process and waits until it has loaded the embedder.

        Raises:
            StartupError: The embedder cannot be had or is broken.
        """
        child = await _Child.started(order)
        return cls(order, child, await child.loaded)

    @override
    async def close(self) -> None:
        self._closing = True
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        if self._child is not None:
            await self._child.close()

    @override
    async def embed(self, kind: Kind, texts: Sequence[str], *, counted: bool = False) -> Embedded:
        if self._closing:
            raise ShuttingDown("The memory service is stopping.", retry_after=1.0)
        if self._child is None:
            raise EmbedderAway(_AWAY)
        return await self._child.ask(kind, texts, counted=counted)

    async def _keep(self, child: _Child) -> None:
        """Starts the process again as often as it ends."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            status = await asyncio.shield(child.ended)
            self._child = None
            _log.error("the embedder's process has ended", status=status)
            if time.monotonic() - began > _LIVED_SECONDS:
                backoff.succeeded()
            child = await self._again(backoff)
            self._child = child
            _log.info("the embedder's process is back")

    async def _again(self, backoff: Backoff) -> _Child:
        while True:
            await asyncio.sleep(backoff.seconds())
            try:
                child = await _Child.started(self._order)
                if await child.loaded == self.facts:
                    return child
                await child.close()
                why = f"{variable_name('embedder')} names another model than at the start: restart the service"
            except (StartupError, OSError) as failure:
                why = str(failure) if isinstance(failure, StartupError) else where(failure)
            _log.error("the embedder's process cannot be started again", why=why)


class _Child(asyncio.SubprocessProtocol):
    """One run of the process.

    Attributes:
        loaded: What it has loaded.
        ended: Its exit status.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.loaded: asyncio.Future[EmbedderFacts] = loop.create_future()
        self.ended: asyncio.Future[int | None] = loop.create_future()
        self._frames = FrameReader()
        self._waiting: dict[int, tuple[asyncio.Future[Embedded], Kind]] = {}
        self._numbers = count()
        self._process: asyncio.SubprocessTransport | None = None

    @classmethod
    async def started(cls, order: Order) -> _Child:
        """Starts it. Where its caller is cancelled while it loads, it ends."""
        _, child = await asyncio.get_running_loop().subprocess_exec(
            cls,
            *(sys.executable, "-m", __package__),
            stderr=None,
            # A terminal's Ctrl-C is for the service, which needs it to finish what is under way. The session stays the
            # service's: in one of its own Linux would give the thread for messages as much time as all of the model's.
            process_group=0,
            # It finds what this process finds, wherever that was told.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        child.send(order.to_frame())
        try:
            await asyncio.shield(child.loaded)
        except BaseException:
            await child.close()
            raise
        return child

    async def ask(self, kind: Kind, texts: Sequence[str], *, counted: bool) -> Embedded:
        """Has texts embedded.

        Raises:
            EmbedderAway: It failed, or has ended.
        """
        if self.ended.done():
            raise EmbedderAway(_AWAY)
        number = next(self._numbers)
        done: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (done, kind)
        self.send(Request(number, kind, list(texts), counted).to_frame())
        return await done

    async def close(self) -> None:
        """Has it end."""
        process = self._process
        if process is None:
            return
        if not self.loaded.done():
            process.kill()  # it does not look up from loading
        elif (pipe := process.get_pipe_transport(0)) is not None:
            pipe.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.ended), _LEAVE_SECONDS)
        process.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast("asyncio.SubprocessTransport", transport)

    @override
    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        for frame in self._frames.feed(cast("bytes", data)):
            if not self.loaded.done():
                self._begin(frame)
            else:
                self._receive(frame)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        status = None
        if self._process is not None:
            status = self._process.get_returncode()
            self._process.close()
        if not self.loaded.done():
            self.loaded.set_exception(StartupError(f"The embedder's process ended at its start, with status {status}."))
        for done, kind in self._waiting.values():
            settle(done, kind, EmbedderAway(_AWAY))
        self._waiting.clear()
        self.ended.set_result(status)

    def _begin(self, frame: Frame) -> None:
        if "refused" in frame.facts:
            self.loaded.set_exception(StartupError(frame.facts["refused"]))
        else:
            self.loaded.set_result(EmbedderFacts(**frame.facts))

    def _receive(self, frame: Frame) -> None:
        facts, width = frame.facts, self.loaded.result().dimension
        done, kind = self._waiting.pop(facts["number"])
        if "failure" in facts:
            settle(done, kind, EmbedderAway(f"The embedder failed ({facts['failure']})."))
        else:
            rows = frame.numbers.reshape(-1, width)
            settle(done, kind, Batched(Embedded(rows, facts["tokens"]), facts["seconds"]))

    def send(self, frame: Frame) -> None:
        """Sends a frame, unless nobody is there to read it."""
        pipe = None if self._process is None else self._process.get_pipe_transport(0)
        if pipe is not None:
            cast("asyncio.WriteTransport", pipe).write(frame.to_bytes())
