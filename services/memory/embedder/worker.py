"""A thread that embeds what waits, several texts together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.memory import measures
from services.memory.embedder.embedder import Embedded
from services.rpc.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BACKGROUND_NICENESS = 10
"""More than the process's own: where all processors are busy, it gets a tenth of what a thread of that gets."""


@dataclass(frozen=True, slots=True)
class _Job:
    texts: tuple[str, ...]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Embedded]
    counted: bool
    """Whether its tokens are: then it is embedded by itself."""


class EmbedderWorker:
    """Embeds off the event loop, in the order in which it is asked.

    Args:
        kind: Of texts, for the thread's name and in metrics.
        embed: Called on this thread alone with texts, and whether their tokens are to be counted.
        batch_size: Most texts that are embedded at once; a job of more is a batch of its own.
        background: Whether this thread gives way to others, where the system lets one thread do so (Linux).
    """

    def __init__(
        self, kind: str, embed: Callable[[Sequence[str], bool], Embedded], batch_size: int, *, background: bool
    ) -> None:
        self._kind = kind
        self._embed = embed
        self._batch_size = batch_size
        self._background = background
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=f"memory-embedder-{kind}", daemon=True)
        self._thread.start()

    async def run(self, texts: Sequence[str], *, counted: bool = False) -> Embedded:
        """Returns the texts' vectors.

        Raises:
            EmbedderAway: As the embedder says.
            ShuttingDown: It is being closed.
        """
        loop = asyncio.get_running_loop()
        job = _Job(tuple(texts), loop, loop.create_future(), counted)
        with self._changed:
            if self._closing:
                raise _stopping()
            self._waiting.append(job)
            self._changed.notify()
        return await job.done

    async def close(self) -> None:
        """Ends the thread after the batch it is at; what waits is refused."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        if self._background:
            _give_way()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting)
                if self._closing:
                    for job in self._waiting:
                        job.loop.call_soon_threadsafe(_fail, job, _stopping())
                    return
                batch = self._take()
            try:
                with measures.EMBEDDING_SECONDS.labels(self._kind).time():
                    embedded = self._embed([text for job in batch for text in job.texts], batch[0].counted)
            except Exception as failure:  # whoever waits is told, and the thread goes on
                for job in batch:
                    job.loop.call_soon_threadsafe(_fail, job, failure)
                continue
            start = 0
            for job in batch:
                end = start + len(job.texts)
                job.loop.call_soon_threadsafe(_finish, job, Embedded(embedded.rows[start:end], embedded.tokens))
                start = end

    def _take(self) -> list[_Job]:
        """Takes the first job and as many more as fit a batch. The lock is held."""
        waiting = self._waiting
        batch = [waiting.popleft()]
        size = len(batch[0].texts)
        while (
            waiting
            and not batch[0].counted
            and not waiting[0].counted
            and size + len(waiting[0].texts) <= self._batch_size
        ):
            batch.append(waiting.popleft())
            size += len(batch[-1].texts)
        return batch


def _give_way() -> None:
    if sys.platform != "linux":
        return  # only there a thread has a priority of its own: elsewhere this would be the process's, or another's
    mine = threading.get_native_id()
    with contextlib.suppress(OSError):  # where a sandbox forbids it, all threads stay alike
        nicest = min(os.getpriority(os.PRIO_PROCESS, mine) + _BACKGROUND_NICENESS, 19)
        os.setpriority(os.PRIO_PROCESS, mine, nicest)


def _finish(job: _Job, embedded: Embedded) -> None:
    if not job.done.done():
        job.done.set_result(embedded)


def _fail(job: _Job, failure: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(failure)


def _stopping() -> ShuttingDown:
    return ShuttingDown("The memory service is stopping.", retry_after=1.0)
