"""Who may use the engine: so many requests run, so many wait, more are refused; callers take turns."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.fair_queue import FairQueue
from services.inference.pace import Pace
from services.rpc.errors import DeadlineExceeded, Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_SHORTEST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A request that waits, and what tells it that it has a place."""

    caller: str
    place: asyncio.Future[None]

    @property
    def served(self) -> bool:
        """Whether it was given a place."""
        return self.place.done() and not self.place.cancelled()


class Admission:
    """Counts the requests of one replica. To be used on one event loop.

    Callers are told apart by opaque names, which are kept only while a request of theirs is here or somebody waits
    whom they were served before.

    Args:
        max_running: Most requests that run at the same time.
        max_queued: Most that wait.
        max_queued_per_caller: Most of one caller that wait.
        clock: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        max_running: int,
        max_queued: int,
        max_queued_per_caller: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_running = max_running
        """Most requests that run at the same time."""
        self._max_queued = max_queued
        self._max_queued_per_caller = max_queued_per_caller
        self._clock = clock
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._free = max_running
        self._entered: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._pace = Pace()

    @property
    def queued(self) -> int:
        """Requests that have come and do not run yet."""
        return self._entered.total() - self._running.total()

    @property
    def running(self) -> int:
        """Requests that hold a place."""
        return self._running.total()

    @asynccontextmanager
    async def enter(self, caller: str) -> AsyncIterator[None]:
        """Counts a request in, from before its prompt is tokenized until it has ended.

        Raises:
            Overloaded: As many wait as may, or as may of this caller; carries when trying again makes sense.
        """
        free = self.max_running - self.running
        if self.queued >= self._max_queued + free:
            raise Overloaded(
                "The model has as many requests as it can take; try again later.",
                retry_after=self._retry_after(self.queued),
            )
        own = self._entered[caller] - self._running[caller]
        if own >= self._max_queued_per_caller + free:
            turns = min(own * max(self._queue.waiting_callers, 1), self.queued)
            raise Overloaded(
                "As many of your requests wait for the model as may; try again later.",
                retry_after=self._retry_after(turns),
            )
        self._entered[caller] += 1
        try:
            yield
        finally:
            _count_down(self._entered, caller)

    @asynccontextmanager
    async def run(self, caller: str, deadline: float | None) -> AsyncIterator[None]:
        """Waits for a place among the running, and holds it.

        Args:
            caller: Whose request it is, as told to `enter`.
            deadline: On the admission's clock.

        Raises:
            DeadlineExceeded: It passed while the request waited.
        """
        await self._wait(caller, deadline)
        self._running[caller] += 1
        try:
            yield
        finally:
            _count_down(self._running, caller)
            self._give_back(caller)

    async def _wait(self, caller: str, deadline: float | None) -> None:
        if deadline is not None and deadline <= self._clock():
            raise _deadline_passed()
        waiter = _Waiter(caller, asyncio.get_running_loop().create_future())
        self._queue.add(caller, waiter)
        self._hand_out()
        if self._queue:
            self._pace.wanted(self._clock())
        try:
            async with asyncio.timeout(None if deadline is None else deadline - self._clock()):
                await waiter.place
        except TimeoutError:
            self._give_up(waiter)
            raise _deadline_passed() from None
        except BaseException:
            self._give_up(waiter)
            raise

    def _hand_out(self) -> None:
        while self._free and (waiter := self._queue.first()):
            if waiter.place.done():
                # It was cancelled, and has not come to leave by itself yet.
                self._queue.remove(waiter.caller, waiter)
                continue
            self._free -= 1
            self._queue.take().place.set_result(None)
        if not self._queue:
            self._pace.unwanted()

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.served:
            # In the very moment that it left.
            self._give_back(waiter.caller)
        else:
            self._queue.remove(waiter.caller, waiter)
            self._hand_out()

    def _give_back(self, caller: str) -> None:
        self._queue.release(caller)
        self._free += 1
        self._pace.freed(self._clock())
        self._hand_out()

    def _retry_after(self, ahead: int) -> float:
        """Returns how long so many requests, and the one that asks, will take to get a place each."""
        expected = self._pace.seconds(self._clock()) * (1 + ahead)
        return min(max(expected, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)


def _count_down(counter: Counter[str], caller: str) -> None:
    counter[caller] -= 1
    if not counter[caller]:
        del counter[caller]


def _deadline_passed() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed while the request waited for the model.")
