"""Threads for what is short and often: a call of theirs costs the event loop one wake-up.

An executor of the standard library takes three, each a turn of the loop: its future tells asyncio's, that one whoever
shields it, and that one whoever waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class WorkerThreads:
    """Runs calls in the order in which they come: one at a time, save beside those that take long.

    Short calls are done sooner one after another than side by side, where their threads take Python's lock from each
    other, and from the event loop, between any two steps.

    Args:
        count: How many at once, where the others take long.
        name: Of the threads, with their number.
        patience: Seconds that a call may take until the next one goes on beside it.
    """

    def __init__(self, count: int, name: str, patience: float = 0.01) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._patience = patience
        self._closed = False
        # Held by the thread whose turn it is to take calls, and passed on while that is at a long one.
        self._turn = threading.Lock()
        self._current: _Call | None = None
        # On the event loop's side: calls that have not ended, and whether somebody looks how long they take.
        self._under_way = 0
        self._watched = False
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
        self._under_way += 1
        if self._under_way > 1 and not self._watched:
            self._watch(call.loop)
        cancelled: asyncio.CancelledError | None = None
        while not call.ended:
            call.waiting = call.loop.create_future()
            try:
                await call.waiting
            except asyncio.CancelledError as why:
                cancelled = why
        self._under_way -= 1
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

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Passes the turn on where whose it is has been at a call for long; looks again later where it has not yet."""
        self._watched = False
        if self._calls.empty():
            return  # whoever asks next looks
        current = self._current
        if current is not None and time.monotonic() - current.began >= self._patience and current.decide_turn():
            self._current = None
            self._turn.release()
        self._watched = True
        loop.call_later(self._patience, self._watch, loop)

    def _work(self) -> None:
        self._turn.acquire()
        while (call := self._calls.get()) is not None:
            call.began = time.monotonic()
            self._current = call
            try:
                call.outcome = call.function()
            except BaseException as failure:  # whoever waits is told
                call.failure = failure
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                call.loop.call_soon_threadsafe(call.end)
            if call.decide_turn():
                self._current = None
            else:
                self._turn.acquire()  # it was passed on
            del call  # nor is what it holds kept until the next one comes
        self._turn.release()


class _Call:
    """A call and what has become of it. Its end is told on the loop."""

    __slots__ = ("_turn", "began", "ended", "failure", "function", "loop", "outcome", "waiting")

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.loop = loop
        self.outcome: Any = None
        self.failure: BaseException | None = None
        self.ended = False
        self.waiting: asyncio.Future[None] | None = None
        self.began = 0.0
        self._turn = [True]

    def decide_turn(self) -> bool:
        """Returns, once, that it has not been decided yet whether its thread keeps the turn or that is passed on."""
        try:
            return self._turn.pop()
        except IndexError:
            return False

    def end(self) -> None:
        self.ended = True
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)
