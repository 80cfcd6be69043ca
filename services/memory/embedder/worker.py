"""A thread that embeds what waits, several texts together."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from services.memory.embedder.async_embedder import Kind
from services.memory.embedder.away import EmbedderClosed
from services.memory.embedder.embedder import Embedded, Embedder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BACKGROUND_NICENESS = 10
"""More than the process's own: where all processors are busy, it gets a tenth of what a thread of that gets."""


@dataclass(frozen=True, slots=True)
class Batched:
    """A job's vectors.

    Attributes:
        seconds: That its batch took, told to one job of each batch; None: to another.
    """

    embedded: Embedded
    seconds: float | None


Outcome: TypeAlias = Batched | Exception


@dataclass(frozen=True, slots=True)
class _Job:
    texts: tuple[str, ...]
    counted: bool
    """Whether its tokens are: then it is embedded by itself."""
    done: Callable[[Outcome], None]


class EmbedderWorker:
    """Embeds in the order in which it is asked, on a thread that for messages gives way to others (Linux).

    Args:
        kind: What it embeds.
        embedder: What it embeds with.
        batch_size: Most texts that are embedded at once; a job of more is a batch of its own.
    """

    def __init__(self, kind: Kind, embedder: Embedder, batch_size: int) -> None:
        self._kind = kind
        self._embedder = embedder
        self._batch_size = batch_size
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=f"memory-embedder-{kind.value}", daemon=True)
        self._thread.start()

    def put(self, texts: Sequence[str], *, counted: bool, done: Callable[[Outcome], None]) -> None:
        """Has texts embedded.

        Args:
            texts: At least one.
            counted: Whether their tokens are counted.
            done: Called once, on the worker's thread, with the vectors or with why there are none.
        """
        job = _Job(tuple(texts), counted, done)
        with self._changed:
            if not self._closing:
                self._waiting.append(job)
                self._changed.notify()
                return
        done(EmbedderClosed())

    def close(self) -> None:
        """Ends the thread after the batch it is at; what waits is refused. Blocks that long."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        if self._kind is Kind.MESSAGES:
            _give_way()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting)
                if self._closing:
                    break
                batch = self._take()
            began = time.monotonic()
            try:
                embedded = self._embed([text for job in batch for text in job.texts], counted=batch[0].counted)
            except Exception as failure:  # whoever waits is told, and the thread goes on
                for job in batch:
                    job.done(failure)
                continue
            seconds: float | None = time.monotonic() - began
            start = 0
            for job in batch:
                end = start + len(job.texts)
                job.done(Batched(Embedded(embedded.rows[start:end], embedded.tokens), seconds))
                start, seconds = end, None
        for job in self._waiting:
            job.done(EmbedderClosed())

    def _embed(self, texts: list[str], *, counted: bool) -> Embedded:
        if counted:
            return self._embedder.embed_counted(texts)
        embed = self._embedder.embed_queries if self._kind is Kind.QUERY else self._embedder.embed_messages
        return Embedded(embed(texts), None)

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
