"""What the service does by itself from time to time: deletes what has expired, and looks for work that was left."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from services.rpc.log import where

if TYPE_CHECKING:
    from services.memory.embedding_queue import EmbeddingQueue
    from services.memory.store import Store

_log = structlog.get_logger()

_LOOK_SECONDS = 5.0
_SWEEP_EVERY = 12  # looks
_UNWRITTEN_EVERY = 720
_PAUSE_SECONDS = 0.05
_DAY_NS = 86_400_000_000_000


class Housekeeping:
    """Works until closed.

    Every few seconds the queue is told to look for messages that wait: those that another replica was to embed when
    it died tell nobody. Every minute what is past its `expire_time` is deleted, every hour what nobody has written
    to for `retention_days`: a few conversations at a time, with a pause after each, so that writes do not wait.

    Args:
        store: Where conversations are.
        queue: What embeds messages.
        retention_days: How long conversations are kept after the last write to them; None: for good.
    """

    def __init__(self, store: Store, queue: EmbeddingQueue, retention_days: float | None) -> None:
        self._store = store
        self._queue = queue
        self._retention_days = retention_days
        self._task = asyncio.create_task(self._work(), name="memory-housekeeping")

    async def sweep(self, *, unwritten: bool) -> int:
        """Deletes all that has expired, and returns how many conversations that was.

        Args:
            unwritten: Whether those go, too, that were not written to for as long as conversations are kept.
        """
        since_ns = None
        if unwritten and self._retention_days is not None:
            since_ns = time.time_ns() - int(self._retention_days * _DAY_NS)
        total = 0
        while removed := await self._store.remove_expired(since_ns):
            total += removed
            await asyncio.sleep(_PAUSE_SECONDS)
        if total:
            _log.info("deleted what had expired", conversations=total)
        return total

    async def close(self) -> None:
        """Stops after the conversations it is at."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        look = 0
        while True:
            try:
                if look % _SWEEP_EVERY == 0:
                    await self.sweep(unwritten=look % _UNWRITTEN_EVERY == 0)
                self._queue.wake()
            except Exception as failure:  # what is to be done is still there the next time
                _log.warning("housekeeping failed", failure=where(failure))
            look += 1
            await asyncio.sleep(_LOOK_SECONDS)
