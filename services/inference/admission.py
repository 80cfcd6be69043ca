"""Who may use the engine: so many requests run, so many wait in order, more are refused."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from services.rpc.errors import DeadlineExceeded, Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SHORTEST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
_SMOOTHING = 0.2
"""Weight of the latest reply in the mean duration that `retry_after` is reckoned from."""


class Admission:
    """Counts the requests of one replica. To be used on one event loop."""

    def __init__(self, max_running: int, max_queued: int) -> None:
        self.max_running = max_running
        """Most requests that run at the same time."""
        self._most = max_running + max_queued
        self._places = asyncio.Semaphore(max_running)
        self._entered = 0
        self._running = 0
        self._mean_seconds = _SHORTEST_RETRY_SECONDS

    @property
    def queued(self) -> int:
        """Requests that wait for a place."""
        return self._entered - self._running

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Counts a request in, from before its prompt is tokenized until it has ended.

        Raises:
            Overloaded: As many run and wait as may; carries when trying again makes sense.
        """
        if self._entered >= self._most:
            raise Overloaded(
                "The model has as many requests as it can take; try again later.", retry_after=self._retry_after()
            )
        self._entered += 1
        try:
            yield
        finally:
            self._entered -= 1

    @asynccontextmanager
    async def run(self, deadline: float | None) -> AsyncIterator[None]:
        """Waits for a place among the running, first come first served, and holds it.

        Args:
            deadline: On the clock of `time.monotonic`.

        Raises:
            DeadlineExceeded: It passed while the request waited.
        """
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                await self._places.acquire()
        except TimeoutError:
            raise DeadlineExceeded("The deadline passed while the request waited for the model.") from None
        self._running += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self._running -= 1
            self._places.release()
            self._mean_seconds += _SMOOTHING * (time.monotonic() - began - self._mean_seconds)

    def _retry_after(self) -> float:
        expected = self._mean_seconds * (1 + self.queued) / self.max_running
        return min(max(expected, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
