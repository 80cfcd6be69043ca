"""How reads reach the database: each whole, in a transaction of its own, without holding up the event loop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from services.memory.off_loop import off_loop, seen_through
from services.memory.worker_threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")


class Reader(Protocol):
    """Runs operations that only read, several at once, each seeing one moment of the database.

    A read that has begun is seen through also where its caller is cancelled: half-way, it would leave its transaction
    open.
    """

    async def run(self, operation: Callable[[Connection], T]) -> T:
        """Returns what the operation does."""

    async def run_then(self, operation: Callable[[Connection], S], then: Callable[[S], T]) -> T:
        """Returns what is made of what the operation does, off the event loop."""

    async def run_around(
        self, before: Callable[[Connection], S], between: Callable[[S], T], after: Callable[[Connection, T], U]
    ) -> U:
        """Returns what the second of two operations reads, which needs what is computed of the first's outcome.

        Args:
            before: The first operation.
            between: What is computed of its outcome, off the event loop.
            after: The second, given what was computed.
        """

    async def run_after(self, before: Callable[[], S], operation: Callable[[Connection, S], T]) -> T:
        """Returns what the operation reads, which needs what is computed first, off the event loop."""

    async def close(self) -> None:
        """Gives the connections back. No read is under way."""


class ThreadReader(Reader):
    """Reads on threads, one switch of threads a read rather than one a statement: for a database in a file.

    Connections are held for good: to take one from a pool and give it back costs as much as a short read.

    Args:
        engine: With as many connections as threads.
        threads: How many read at once; other reads wait.
    """

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._threads = WorkerThreads(threads, "memory-reader")
        self._idle: list[Connection] = []

    @override
    async def run(self, operation: Callable[[Connection], T]) -> T:
        return await self._threads.run(partial(self._read, operation))

    @override
    async def run_then(self, operation: Callable[[Connection], S], then: Callable[[S], T]) -> T:
        return await self._threads.run(lambda: then(self._read(operation)))

    @override
    async def run_around(
        self, before: Callable[[Connection], S], between: Callable[[S], T], after: Callable[[Connection, T], U]
    ) -> U:
        def operation(connection: Connection) -> U:
            return after(connection, between(before(connection)))

        # One switch of threads instead of three, each of which takes as long as all that is read.
        return await self.run(operation)

    @override
    async def run_after(self, before: Callable[[], S], operation: Callable[[Connection, S], T]) -> T:
        return await self.run(lambda connection: operation(connection, before()))

    @override
    async def close(self) -> None:
        self._threads.close()
        for connection in self._idle:
            connection.close()
        self._engine.dispose()

    def _read(self, operation: Callable[[Connection], T]) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        try:
            with connection.begin():
                outcome = operation(connection)
        except DBAPIError:
            connection.close()  # the next read begins with another
            raise
        except BaseException:
            self._idle.append(connection)
            raise
        self._idle.append(connection)
        return outcome


class AsyncReader(Reader):
    """Reads through the driver's own asyncio face: for a database at the other end of a socket."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @override
    async def run(self, operation: Callable[[Connection], T]) -> T:
        return await seen_through(self._read(operation))

    @override
    async def run_then(self, operation: Callable[[Connection], S], then: Callable[[S], T]) -> T:
        return await off_loop(then, await self.run(operation))

    @override
    async def run_around(
        self, before: Callable[[Connection], S], between: Callable[[S], T], after: Callable[[Connection, T], U]
    ) -> U:
        computed = await off_loop(between, await self.run(before))
        return await self.run(lambda connection: after(connection, computed))

    @override
    async def run_after(self, before: Callable[[], S], operation: Callable[[Connection, S], T]) -> T:
        computed = await off_loop(before)
        return await self.run(lambda connection: operation(connection, computed))

    @override
    async def close(self) -> None:
        await self._engine.dispose()

    async def _read(self, operation: Callable[[Connection], T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(operation)
