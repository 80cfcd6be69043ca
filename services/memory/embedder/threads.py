"""An embedder on two threads: one for queries, for which somebody waits, and one for messages, which gives way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from services.memory import measures
from services.memory.embedder.async_embedder import AsyncEmbedder, Kind
from services.memory.embedder.away import EmbedderClosed
from services.memory.embedder.facts import EmbedderFacts
from services.memory.embedder.worker import Batched, EmbedderWorker
from services.rpc.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.memory.embedder.embedder import Embedded, Embedder
    from services.memory.embedder.worker import Outcome


class EmbedderThreads(AsyncEmbedder):
    """Embeds within this process: for embedders that are elsewhere themselves, or take no time.

    Args:
        embedder: Called from these two threads alone.
        batch_size: Most texts that are embedded at once.
    """

    def __init__(self, embedder: Embedder, batch_size: int = 32) -> None:
        self.facts = EmbedderFacts.of(embedder)
        self._embedder = embedder
        self._workers = {kind: EmbedderWorker(kind, embedder, batch_size) for kind in Kind}

    @override
    async def close(self) -> None:
        for worker in self._workers.values():
            await asyncio.to_thread(worker.close)
        self._embedder.close()

    @override
    async def embed(self, kind: Kind, texts: Sequence[str], *, counted: bool = False) -> Embedded:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Embedded] = loop.create_future()

        def told(outcome: Outcome) -> None:
            loop.call_soon_threadsafe(settle, done, kind, outcome)

        self._workers[kind].put(texts, counted=counted, done=told)
        try:
            return await done
        except EmbedderClosed:
            raise ShuttingDown("The memory service is stopping.", retry_after=1.0) from None


def settle(done: asyncio.Future[Embedded], kind: Kind, outcome: Outcome) -> None:
    """Gives whoever waits for texts their vectors, or why there are none."""
    if isinstance(outcome, Batched) and outcome.seconds is not None:
        measures.EMBEDDING_SECONDS.labels(kind.value).observe(outcome.seconds)
    if done.done():
        return
    if isinstance(outcome, Batched):
        done.set_result(outcome.embedded)
    else:
        done.set_exception(outcome)
