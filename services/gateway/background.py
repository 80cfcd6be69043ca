"""Work that no turn waits for: one piece at a time, and lost at a stop, since whatever is due is found due again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from services.rpc.errors import ChatbotError
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

_log = structlog.get_logger()

_MOST_WAITING = 1000


class BackgroundWork:
    """A queue of work on one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, Callable[[], Awaitable[None]]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._stopped = False

    def offer(self, key: Hashable, work: Callable[[], Awaitable[None]]) -> None:
        """Has work done when its turn comes; in place of what waits under the same key, of which it knows more.

        Where too much waits, what has waited longest is dropped.
        """
        if self._stopped:
            return
        self._waiting[key] = work
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run(), name="background-work")

    async def settle(self) -> None:
        """Waits until nothing is left to do."""
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])

    async def stop(self) -> None:
        """Drops what waits and what is under way."""
        self._stopped = True
        self._waiting.clear()
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker

    async def _run(self) -> None:
        while self._waiting:
            work = self._waiting.pop(next(iter(self._waiting)))
            try:
                await work()
            except ChatbotError as failure:  # it is due again after the next turn
                _log.info("background work was given up", reason=failure.reason)
            except Exception as failure:
                _log.error("background work failed", failure=where(failure))
