"""Embeds in the background whatever message has no vector of the current embedder.

What waits is in the database, so that a crash, a restart or another embedder loses nothing. Users who search come
first, their newest messages first; then messages that nothing is found by yet, then the others. While the embedder is
away nobody waits for it: messages are found by their words, and get their vector when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from services.memory import measures
from services.memory.backoff import Backoff
from services.memory.embedder.away import EmbedderAway
from services.memory.message_text import embedded_text, searched_words
from services.memory.terms import pack_terms
from services.memory.vector import NewVector
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.memory.embedder.async_embedder import AsyncEmbedder
    from services.memory.store import Store
    from services.memory.vector import UnembeddedMessage

_log = structlog.get_logger()

_LARGE_BACKLOG = 500
_REPORT_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_IDLE_SECONDS = 10.0
_GATHER_SECONDS = 0.1
_MOST_USERS_AT_ONCE = 16
_GROUP_CHARACTERS = 8_000
"""About 2,000 tokens: a few tenths of a second for a small model on one processor."""


@dataclass(frozen=True, slots=True)
class _Search:
    """A search that waits until the user's messages up to the id `up_to` are embedded."""

    user_id: str
    up_to: int
    done: asyncio.Future[bool]
    """Set to whether they are."""


@dataclass(frozen=True, slots=True)
class EmbeddingProgress:
    """How the embedding goes.

    Attributes:
        messages_per_second: That this process embedded lately; 0 where it had nothing to do.
        problem: Why nothing can be embedded now; empty: nothing is wrong.
    """

    messages_per_second: float
    problem: str


class EmbeddingQueue:
    """Works until closed.

    Args:
        store: Where messages wait and vectors go.
        embedder: What embeds.
        batch_size: Most messages embedded at once.
    """

    def __init__(self, store: Store, embedder: AsyncEmbedder, batch_size: int) -> None:
        self._store = store
        self._embedder = embedder
        self._batch_size = batch_size
        self._wake = asyncio.Event()
        self._wake.set()
        self._wanted = asyncio.Event()
        self._searches: list[_Search] = []
        self._backlog = 0
        self._largest_backlog = 0
        self._done_since_report = 0
        self._rate = 0.0
        self._problem = ""
        self._reported_at = time.monotonic()
        self._task = asyncio.create_task(self._work(), name="memory-embedding")

    def wake(self) -> None:
        """Tells that messages were stored."""
        self._wake.set()

    @property
    def progress(self) -> EmbeddingProgress:
        """How it goes at this moment."""
        idle = time.monotonic() - self._reported_at > _IDLE_SECONDS
        return EmbeddingProgress(0.0 if idle else self._rate, self._problem)

    async def settle(self, user_id: str, up_to: int, seconds: float) -> bool:
        """Waits until all of the user's messages up to the id `up_to` are embedded.

        While the embedder is away it waits until they can be found by their words.

        Returns:
            False where that took longer than `seconds`: the oldest are missing then.
        """
        search = _Search(user_id, up_to, asyncio.get_running_loop().create_future())
        self._searches.append(search)
        self._wanted.set()
        self._wake.set()
        try:
            return await asyncio.wait_for(search.done, seconds)
        except TimeoutError:
            return False
        finally:
            self._searches = [other for other in self._searches if other is not search]

    async def close(self) -> None:
        """Stops after the batch it is at."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        self._backlog = self._largest_backlog = await self._store.count_unembedded()
        measures.PENDING.set(self._backlog)
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while batch := await self._searched() or await self._store.next_unembedded(self._batch_size):
                    await self._embed(batch)
                    if len(batch) < self._batch_size:
                        await self._let_more_come()
            except EmbedderAway as away:
                await self._outlast(away)
                self._wake.set()
            except Exception as failure:
                await self._failed(failure)

    async def _failed(self, failure: Exception) -> None:
        """Waits a moment: the messages wait in the database, and are tried again."""
        _log.error("embedding failed", failure=where(failure))
        await asyncio.sleep(_RETRY_SECONDS)
        self._wake.set()

    async def _outlast(self, away: EmbedderAway) -> None:
        """Tries the embedder until it is back; meanwhile what comes is found by its words alone."""
        backoff = Backoff()
        words = asyncio.create_task(self._go_by_words())
        try:
            while True:
                self._problem = str(away)
                wait = backoff.seconds(away.retry_after)
                _log.warning("embedder away", why=str(away), seconds_until_next_try=round(wait, 1))
                await asyncio.sleep(wait)
                try:
                    measures.PENDING.set(await self._store.count_unembedded())
                    if batch := await self._store.next_unembedded(self._batch_size):
                        await self._embed(batch)
                except EmbedderAway as still:
                    away = still
                except Exception as failure:
                    await self._failed(failure)
                else:
                    return
        finally:
            words.cancel()
            await asyncio.gather(words, return_exceptions=True)

    async def _go_by_words(self) -> None:
        self._wake.set()  # some wait already
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while batch := (
                    await self._searched() or await self._store.next_unembedded(self._batch_size, awaited=True)
                ):
                    packed = await asyncio.to_thread(_packed_terms, batch)
                    terms_of = {message.message_id: terms for message, terms in zip(batch, packed, strict=True)}
                    await self._store.put_words(terms_of)
            except Exception as failure:
                await self._failed(failure)

    async def _let_more_come(self) -> None:
        """Waits a moment, unless somebody searches: a transaction for each message would take from appends."""
        if not self._searches:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), _GATHER_SECONDS)
        self._wanted.clear()

    async def _searched(self) -> Sequence[UnembeddedMessage]:
        """Returns what searches wait for, and lets those go on that wait for nothing any more."""
        while self._searches:
            chosen: dict[int, UnembeddedMessage] = {}
            searches = self._searches[:_MOST_USERS_AT_ONCE]
            for search in searches:
                share = max(1, self._batch_size // len(searches))
                waiting = await self._store.awaited(search.user_id, search.up_to, share)
                if not waiting and not search.done.done():
                    search.done.set_result(True)
                chosen.update((message.message_id, message) for message in waiting)
            self._searches = [search for search in self._searches if not search.done.done()]
            if chosen:
                return list(chosen.values())
        return ()

    async def _embed(self, batch: Sequence[UnembeddedMessage]) -> None:
        await embed_batch(self._store, self._embedder, batch)
        if self._problem:
            _log.info("embedder back")
            self._problem = ""
        self._done_since_report += len(batch)
        await self._report()

    async def _report(self) -> None:
        now = time.monotonic()
        elapsed = now - self._reported_at
        if elapsed < _REPORT_SECONDS:
            return
        left = await self._store.count_unembedded()
        measures.PENDING.set(left)
        self._largest_backlog = max(left, self._largest_backlog) if left else 0
        self._rate = self._done_since_report / elapsed
        if max(left, self._backlog) >= _LARGE_BACKLOG:
            done = 1.0 - left / max(self._largest_backlog, 1)
            _log.info("embedding", left=left, percent=round(100 * done), messages_per_second=round(self._rate, 1))
        self._backlog, self._done_since_report, self._reported_at = left, 0, now


async def embed_batch(store: Store, embedder: AsyncEmbedder, batch: Sequence[UnembeddedMessage]) -> None:
    """Embeds messages and stores what they are found by, a few at a time."""
    for group in _groups(batch):
        rows, packed = await asyncio.gather(
            embedder.embed_messages([embedded_text(message) for message in group]),
            asyncio.to_thread(_packed_terms, group),
        )
        vector_of = {
            message.message_id: NewVector(row.astype("<f2").tobytes(), terms)
            for message, row, terms in zip(group, rows, packed, strict=True)
        }
        await store.put_vectors(embedder.facts.id, vector_of, rows.shape[1])
        measures.EMBEDDED.inc(len(group))


def _packed_terms(group: Sequence[UnembeddedMessage]) -> list[bytes]:
    return [pack_terms(searched_words(message)) for message in group]


def _groups(batch: Sequence[UnembeddedMessage]) -> Iterator[list[UnembeddedMessage]]:
    """Cuts a batch where it holds much text: between two groups a query gets its turn."""
    group: list[UnembeddedMessage] = []
    characters = 0
    for message in batch:
        if group and characters + len(message.content) > _GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
        group.append(message)
        characters += len(message.content)
    if group:
        yield group
