"""The one writer, with group commit: what waits is written in one transaction and made durable by one sync.

Operations of a batch run one after another on one thread of the writer's own, each seeing what those before it
wrote: a thread switch a batch rather than a statement is what most of the rate comes from. An
operation that refuses (raises a ChatbotError) must do so before its first write; the others are unharmed, without
the cost of a savepoint each. Any other failure rolls the whole batch back, and each operation is tried by itself;
to run one again after it was committed must be harmless.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from services.rpc.errors import ChatbotError, Overloaded, ShuttingDown, Unavailable
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

_log = structlog.get_logger()

T = TypeVar("T")

_MAX_BATCH = 256
_MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class _Write:
    """An operation that waits; `scrub`: it deletes, and is done only when the text has left the files."""

    operation: Callable[[Connection], Any]
    scrub: bool
    outcome: asyncio.Future[Any]


class Writer:
    """Runs operations in order.

    Args:
        engine: Whose connections begin transactions that may write.
        scrub: Removes deleted text from the database's files.
    """

    def __init__(self, engine: Engine, scrub: Callable[[], None]) -> None:
        self._engine = engine
        self._scrub = scrub
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memory-writer")
        self._waiting: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._closing = False
        self._task = asyncio.create_task(self._work(), name="memory-writer")

    async def run(self, operation: Callable[[Connection], T], *, scrub: bool = False) -> T:
        """Runs an operation and returns its outcome when that is durable.

        The operation happens even where the caller stops waiting.

        Raises:
            ChatbotError: The operation's own refusal.
            Overloaded: Too many operations wait.
            Unavailable: The database refused to write.
        """
        if self._closing:
            raise ShuttingDown("The memory service is stopping.", retry_after=1.0)
        if self._waiting.qsize() >= _MAX_WAITING:
            raise Overloaded("Too many writes are waiting.", retry_after=1.0)
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(_Write(operation, scrub, outcome))
        return await outcome

    async def close(self) -> None:
        """Runs what waits, then ends."""
        if not self._closing:
            self._closing = True
            self._waiting.put_nowait(None)
        await self._task
        self._thread.shutdown()

    async def _work(self) -> None:
        ending = False
        while not ending:
            batch: list[_Write] = []
            write = await self._waiting.get()
            while True:
                if write is None:
                    ending = True
                    break
                batch.append(write)
                if len(batch) == _MAX_BATCH or self._waiting.empty():
                    break
                write = self._waiting.get_nowait()
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: Sequence[_Write]) -> None:
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._run_all, batch)
        except Exception as failure:
            if len(batch) > 1:
                for write in batch:
                    await self._commit([write])
                return
            _log.error("write failed", failure=where(failure))
            outcomes = [_unavailable() if isinstance(failure, DBAPIError) else failure]
        for write, outcome in zip(batch, outcomes, strict=True):
            if write.outcome.done():  # its caller has gone
                continue
            if isinstance(outcome, Exception):
                write.outcome.set_exception(outcome)
            else:
                write.outcome.set_result(outcome)

    def _run_all(self, batch: Sequence[_Write]) -> list[Any]:
        outcomes: list[Any] = []
        with self._engine.begin() as connection:
            for write in batch:
                try:
                    outcomes.append(write.operation(connection))
                except ChatbotError as refusal:
                    outcomes.append(refusal)
        if any(write.scrub for write in batch):
            self._scrub()
        return outcomes


def _unavailable() -> Unavailable:
    return Unavailable("The database cannot be written to now.", retry_after=1.0)
