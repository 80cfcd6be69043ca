"""Threads for what is short and often: a call of theirs costs the event loop one wake-up.

An executor of the standard library takes three, each a turn of the loop: its future tells asyncio's, that one whoever
shields it, and that one whoever waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class WorkerThreads:
    """Runs calls in the order in which they come.

    Args:
        count: How many at once.
        name: Of the threads, with their number.
    """

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """Runs a function on one of the threads, and has returned only when it has ended.

        It is seen through also where the caller is cancelled, whether it has begun by then or not.

        Raises:
            RuntimeError: The threads have been closed.
            Exception: What the function raises.
        """
        if self._closed:
            raise RuntimeError("the threads have been closed")
        call = _Call(function, asyncio.get_running_loop())
        self._calls.put(call)
        cancelled: asyncio.CancelledError | None = None
        while not call.ended:
            call.waiting = call.loop.create_future()
            try:
                await call.waiting
            except asyncio.CancelledError as why:
                cancelled = why
        try:
            if cancelled is not None:
                raise cancelled
            if call.failure is not None:
                raise call.failure
            return cast("T", call.outcome)
        finally:
            # What was raised refers to this frame: neither is to be kept by the other.
            del call, cancelled

    def close(self) -> None:
        """Runs what waits, then ends. Blocks that long."""
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.outcome = call.function()
            except BaseException as failure:  # whoever waits is told
                call.failure = failure
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                call.loop.call_soon_threadsafe(call.end)
            del call  # nor is what it holds kept until the next one comes


class _Call:
    """A call and what has become of it. Its end is told on the loop."""

    __slots__ = ("ended", "failure", "function", "loop", "outcome", "waiting")

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.loop = loop
        self.outcome: Any = None
        self.failure: BaseException | None = None
        self.ended = False
        self.waiting: asyncio.Future[None] | None = None

    def end(self) -> None:
        self.ended = True
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)
