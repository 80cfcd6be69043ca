"""The one thread that embeds: what waits is embedded together, queries before messages."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.memory import measures, message_text, terms
from services.memory.embedder.closeness import close_similarity
from services.memory.embedder.embedder import Embedded
from services.memory.embedder.russian import is_russian
from services.rpc.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.memory.embedder.embedder import Embedder


@dataclass(frozen=True, slots=True)
class _Job:
    texts: tuple[str, ...]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Embedded]
    counted: bool = False
    """Whether its tokens are: then it is embedded by itself."""


class EmbedderThread:
    """Embeds off the event loop.

    Args:
        embedder: Called from this thread alone.
        batch_size: Most texts that are embedded at once; a job of more is a batch of its own.
    """

    def __init__(self, embedder: Embedder, batch_size: int) -> None:
        self._embedder = embedder
        self._batch_size = batch_size
        self._changed = threading.Condition()
        self._queries: deque[_Job] = deque()
        self._messages: deque[_Job] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="memory-embedder", daemon=True)
        self._thread.start()

    @property
    def id(self) -> str:
        """As `made_by` gives it."""
        return made_by(self._embedder)

    @property
    def model(self) -> str:
        """Id of the embedder itself."""
        return self._embedder.id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._embedder.dimension

    @property
    def close_similarity(self) -> float:
        """Similarity from which on a message may have to do with a query."""
        return close_similarity(self._embedder.id)

    def trusts(self, text: str) -> bool:
        """Whether the embedder was made for the language that a text is in, as far as Russian goes."""
        return self._embedder.reads_russian or not is_russian(text)

    async def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds what is to be found: unit rows, one a text."""
        return (await self._submit(self._messages, texts)).rows

    async def embed_counted(self, texts: Sequence[str]) -> Embedded:
        """Embeds what is to be found, and counts the tokens."""
        return await self._submit(self._messages, texts, counted=True)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embeds what is looked for: one unit row."""
        embedded = await self._submit(self._queries, [text])
        row: NDArray[np.float32] = embedded.rows[0]
        return row

    async def close(self) -> None:
        """Ends the thread after the batch it is at; what waits is refused."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        self._embedder.close()

    async def _submit(self, queue: deque[_Job], texts: Sequence[str], *, counted: bool = False) -> Embedded:
        loop = asyncio.get_running_loop()
        job = _Job(tuple(texts), loop, loop.create_future(), counted)
        with self._changed:
            if self._closing:
                raise _stopping()
            queue.append(job)
            self._changed.notify()
        return await job.done

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._queries or self._messages)
                if self._closing:
                    refused = [*self._queries, *self._messages]
                    for job in refused:
                        job.loop.call_soon_threadsafe(_fail, job, _stopping())
                    return
                from_queries = bool(self._queries)
                batch = self._take(self._queries if from_queries else self._messages)
            try:
                with measures.EMBEDDING_SECONDS.labels("query" if from_queries else "messages").time():
                    embedded = self._embed(batch, from_queries=from_queries)
            except Exception as failure:  # whoever waits is told, and the thread goes on
                for job in batch:
                    job.loop.call_soon_threadsafe(_fail, job, failure)
                continue
            start = 0
            for job in batch:
                end = start + len(job.texts)
                job.loop.call_soon_threadsafe(_finish, job, Embedded(embedded.rows[start:end], embedded.tokens))
                start = end

    def _embed(self, batch: list[_Job], *, from_queries: bool) -> Embedded:
        if batch[0].counted:
            return self._embedder.embed_counted(batch[0].texts)
        embed = self._embedder.embed_queries if from_queries else self._embedder.embed_messages
        return Embedded(embed([text for job in batch for text in job.texts]), None)

    def _take(self, queue: deque[_Job]) -> list[_Job]:
        """Takes the first job and as many more as fit a batch. The lock is held."""
        batch = [queue.popleft()]
        size = len(batch[0].texts)
        while (
            queue and not batch[0].counted and not queue[0].counted and size + len(queue[0].texts) <= self._batch_size
        ):
            batch.append(queue.popleft())
            size += len(batch[-1].texts)
        return batch


def made_by(embedder: Embedder) -> str:
    """Returns the id of what is made of messages: by the embedder, and by how texts and terms are prepared for it."""
    return f"{embedder.id}/{message_text.RECIPE}/{terms.RECIPE}"


def _finish(job: _Job, embedded: Embedded) -> None:
    if not job.done.done():
        job.done.set_result(embedded)


def _fail(job: _Job, failure: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(failure)


def _stopping() -> ShuttingDown:
    return ShuttingDown("The memory service is stopping.", retry_after=1.0)
