"""A writer, with group commit: what waits is written in one transaction and made durable by one sync.

Operations of a batch run one after another on one thread of the writer's own, each seeing what those before it
wrote: a thread switch a batch rather than a statement is what most of the rate comes from, and the next batch waits
for no event loop. An operation that refuses (raises a ChatbotError) must do so before its first write; the others are
unharmed, without the cost of a savepoint each. A failure that passes (a lost connection, a deadlock) has the batch
tried again, a few times; any other rolls it back, and each operation is tried by itself. To run one again after it was
committed must be harmless.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from services.memory.store.locks import lock_users
from services.rpc.errors import ChatbotError, Overloaded, ShuttingDown, Unavailable
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

_log = structlog.get_logger()

T = TypeVar("T")

_MAX_BATCH = 256
_MAX_WAITING = 10_000
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.05

# https://www.postgresql.org/docs/15/errcodes-appendix.html
_LOCK_NOT_AVAILABLE = "55P03"
_PASSING = frozenset({"40001", "40P01", _LOCK_NOT_AVAILABLE})  # serialization_failure, deadlock_detected


def passes(failure: BaseException) -> bool:
    """Returns whether a failure is one that the same work, done again, may not meet."""
    return isinstance(failure, DBAPIError) and (
        failure.connection_invalidated
        or _sqlstate(failure) in _PASSING
        # The server is not there (yet): the driver's connection was never made.
        or (failure.statement is None and getattr(failure.orig, "pgconn", None) is not None)
    )


@dataclass(frozen=True, slots=True)
class _Write:
    """An operation that waits.

    Attributes:
        user_id: Whose rows it is about; None: several users', which it finds out and locks by itself, in a
            transaction of its own.
        scrub: It deletes, and is done only when the text has left the files.
    """

    operation: Callable[[Connection], Any]
    user_id: str | None
    scrub: bool
    outcome: asyncio.Future[Any]


class Writer:
    """Runs operations in order, on a thread of its own that takes what waits as soon as it is done with the last.

    Args:
        engine: Whose connections begin transactions that may write.
        scrub: Removes deleted text from the database's files, where that can be done.

    Made and used on one event loop.
    """

    def __init__(self, engine: Engine, scrub: Callable[[], None] | None) -> None:
        self._engine = engine
        self._scrub = scrub
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._waiting: deque[_Write] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="memory-writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Callable[[Connection], T], *, user_id: str | None = None, scrub: bool = False) -> T:
        """Runs an operation and returns its outcome when that is durable.

        The operation happens even where the caller stops waiting.

        Raises:
            ChatbotError: The operation's own refusal.
            Overloaded: Too many operations wait.
            Unavailable: The database refused to write.
        """
        outcome: asyncio.Future[T] = self._loop.create_future()
        with self._changed:
            if self._closing:
                raise ShuttingDown("The memory service is stopping.", retry_after=1.0)
            if len(self._waiting) >= _MAX_WAITING:
                raise Overloaded("Too many writes are waiting.", retry_after=1.0)
            self._waiting.append(_Write(operation, user_id, scrub, outcome))
            self._changed.notify()
        return await outcome

    async def close(self) -> None:
        """Runs what waits, then ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)

    def _next_batch(self) -> list[_Write]:
        """Waits for operations and takes those of one transaction; none: it is closed, and nothing waits any more."""
        waiting = self._waiting
        with self._changed:
            self._changed.wait_for(lambda: self._closing or waiting)
            batch: list[_Write] = []
            while waiting and len(batch) < _MAX_BATCH:
                alone = waiting[0].user_id is None
                if alone and batch:
                    break
                batch.append(waiting.popleft())
                if alone:
                    break
            return batch

    def _commit(self, batch: Sequence[_Write]) -> None:
        outcomes: Sequence[Any] = ()
        for attempt in range(_ATTEMPTS):
            try:
                outcomes = self._run_all(batch)
                break
            except Exception as failure:
                passing = passes(failure)
                if len(batch) > 1 and _sqlstate(failure) == _LOCK_NOT_AVAILABLE:
                    # Somebody is long at it for one of these users; the others need not wait for that.
                    passing = False
                if passing and attempt < _ATTEMPTS - 1:
                    time.sleep(_FIRST_PAUSE_SECONDS * 4**attempt * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
                    continue
                if not passing and len(batch) > 1:
                    for write in batch:
                        self._commit([write])
                    return
                _log.error("write failed", failure=where(failure))
                outcomes = [_unavailable() if isinstance(failure, DBAPIError) else failure] * len(batch)
                break
        # All at once: each call wakes the loop.
        self._loop.call_soon_threadsafe(_settle, batch, outcomes)

    def _run_all(self, batch: Sequence[_Write]) -> list[Any]:
        outcomes: list[Any] = []
        with self._engine.begin() as connection:
            lock_users(connection, (write.user_id for write in batch if write.user_id is not None))
            for write in batch:
                try:
                    outcomes.append(write.operation(connection))
                except ChatbotError as refusal:
                    outcomes.append(refusal)
        if self._scrub is not None and any(write.scrub for write in batch):
            self._scrub()
        return outcomes


def _settle(batch: Sequence[_Write], outcomes: Sequence[Any]) -> None:
    for write, outcome in zip(batch, outcomes, strict=True):
        if write.outcome.done():  # its caller has gone
            continue
        if isinstance(outcome, Exception):
            write.outcome.set_exception(outcome)
        else:
            write.outcome.set_result(outcome)


def _sqlstate(failure: BaseException) -> str | None:
    return getattr(failure.orig, "sqlstate", None) if isinstance(failure, DBAPIError) else None


def _unavailable() -> Unavailable:
    return Unavailable("The database cannot be written to now.", retry_after=1.0)
