"""`reindex`: embeds what the present embedder has no good vector of, or everything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.memory.backoff import Backoff
from services.memory.command.outcome import WHOLE
from services.memory.command.progress import Steps, counted, say
from services.memory.embedder import EmbedderAway
from services.memory.embedding_queue import embed_batch

if TYPE_CHECKING:
    from services.memory.command.arguments import Options
    from services.memory.command.desk import Desk


async def reindex(options: Options, desk: Desk) -> int:
    """Embeds. What waits is in the database and every batch is stored, so it can be ended at any time."""
    batch_size = desk.settings.embedding_batch_size
    async with desk.store() as store:
        async with desk.embedder() as embedder:
            await store.queue_unfit(embedder.facts.id, embedder.facts.dimension, everything=options.all)
            done = 0
            backoff = Backoff()
            with Steps("Embedding messages", await store.count_unembedded()) as steps:
                while batch := await store.next_unembedded(batch_size):
                    try:
                        await embed_batch(store, embedder, batch)
                    except EmbedderAway as away:
                        wait = backoff.seconds(away.retry_after)
                        say(f"{away} It is tried again in {wait:.1f} seconds.")
                        await asyncio.sleep(wait)
                        continue
                    backoff.succeeded()
                    done += len(batch)
                    steps.advance(len(batch))
        left = await store.count_unembedded()
    say(f"Embedded {counted(done, 'message')}.")
    if left:
        say(f"{counted(left, 'message')} are being embedded by running memory services.")
    return WHOLE
