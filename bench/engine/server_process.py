"""A process of a contender: started in a group of its own, held still while others are measured, ended for sure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from bench.engine.client import RequestFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.2


class NotStarted(Exception):
    """A contender cannot be measured. The message says why."""


class ServerProcess:
    """One process and its children. Its standard input is a pipe that ends with us.

    Args:
        command: Program and arguments.
        log: File that its standard error, and its output where that is not asked for, go to.
        environment: Variables beside our own.
        piped: Whether `process.stdout` is to be read by the caller.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, *, piped: bool = False
    ) -> None:
        self._command = command
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._piped = piped
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process, once it is started."""
        if self._process is None:
            raise RuntimeError("start has not returned")
        return self._process

    async def start(self) -> None:
        """Starts it."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if self._piped else log,
                stderr=log,
                env=self._environment,
                # Its own, so that it and its children are held still together. Its session is the bench's: Linux shares
                # processors out between sessions first, and what else runs would hinder it less than it may elsewhere.
                process_group=0,
                limit=64 * 1024 * 1024,
            )

    async def wait_until(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Waits until a server answers.

        Raises:
            NotStarted: It ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while not await ready():
            if self.process.returncode is not None:
                raise NotStarted(f"it ended with status {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise NotStarted(f"it was not ready after {seconds:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Writes a line to its standard input and returns what the line that it answers with says. It must be piped.

        Raises:
            RequestFailed: It ended.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process was not started with pipes")
        try:
            stdin.write(json.dumps(question).encode() + b"\n")
            await stdin.drain()
        except ConnectionError:
            raise RequestFailed(self.last_words()) from None
        line = await stdout.readline()
        if not line:
            raise RequestFailed(self.last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def pause(self) -> None:
        """Holds it still, so that it takes nothing from whoever is measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Ends it, by force where it does not end when asked."""
        if self._process is None:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            pass
        finally:
            # Children may outlive their parent.
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def last_words(self) -> str:
        """Returns the last line of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
