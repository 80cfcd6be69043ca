"""One search, top to bottom: embed the query, wait for the user's newest messages, search their index, fetch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog

from services.memory import measures
from services.memory.embedder.away import EmbedderAway
from services.memory.index_query import IndexQuery
from services.memory.message import NO_FILTER, Message, MessageFilter, MessageRange
from services.memory.ranking import UNTRUSTED_DENSE_WEIGHT, Recency
from services.memory.terms import query_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.memory.embedder.async_embedder import AsyncEmbedder
    from services.memory.embedding_queue import EmbeddingQueue
    from services.memory.index import UserIndex
    from services.memory.index_cache import IndexCache
    from services.memory.index_query import Scored
    from services.memory.store import Store
    from services.memory.vector import Standing, UserLog

_log = structlog.get_logger()

_NEIGHBOUR_BYTES = 4_000_000
"""Most bytes of neighbours in an answer: they fit one gRPC message together with the hits."""
_BYTES_BESIDE_TEXT = 200


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to look for.

    Attributes:
        conversation_id: Only in this conversation; None: in all of the user's.
        neighbours: How many messages before and after each hit come with it.
        half_life_ns: Where set, newer messages are preferred, half as much at this age, in nanoseconds.
    """

    text: str
    limit: int
    conversation_id: str | None = None
    filter: MessageFilter = NO_FILTER
    exclude: tuple[MessageRange, ...] = ()
    neighbours: int = 0
    half_life_ns: int | None = None


class Hit(NamedTuple):
    """A message found, why, and what stood before and after it, the oldest first.

    The similarity is 0 where the embedder was not made for the query's language, or could not be asked.
    """

    message: Message
    scored: Scored
    before: tuple[Message, ...] = ()
    after: tuple[Message, ...] = ()


class Searcher:
    """Finds users' messages.

    Args:
        store: Where messages are.
        embedder: What embeds queries.
        queue: What embeds messages.
        indexes: Users' vectors.
        wait_seconds: Longest wait for the user's newest messages to be embedded.
    """

    def __init__(
        self,
        store: Store,
        embedder: AsyncEmbedder,
        queue: EmbeddingQueue,
        indexes: IndexCache,
        wait_seconds: float,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._queue = queue
        self._indexes = indexes
        self._wait_seconds = wait_seconds

    async def search(self, user_id: str, query: SearchQuery, time_left: float | None = None) -> list[Hit]:
        """Returns the best hits, the best first, the newer first where two score the same.

        Exact among the messages that pass the filters. Fewer than `limit` are returned where no more pass, or
        where more would not fit one answer. Neighbours come whatever the filters, those of the best hits as far as
        they fit.

        Args:
            user_id: Whose messages.
            query: What to look for.
            time_left: Seconds that the caller gives; at most half of them are waited.

        Raises:
            ConversationNotFound: `conversation_id` names none of the user's.
        """
        wait = self._wait_seconds if time_left is None else min(self._wait_seconds, time_left / 2)
        hits = None
        if self._indexes.is_whole(user_id):
            # Nearly always it is, which is seen on the way.
            wanted = self._wanted(query, await self._embedded(query.text, wait))
            async with self._indexes.as_it_is(user_id) as index:
                hits = None if index is None else await self._find(user_id, index, wanted)
            log = None if hits is not None else await self._loaded(user_id, query.conversation_id, wait)
        else:
            loading = asyncio.create_task(self._loaded(user_id, query.conversation_id, wait))
            try:
                wanted = self._wanted(query, await self._embedded(query.text, wait))
            except BaseException:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)
                raise
            log = await loading
        if log is not None:
            async with self._indexes.up_to_date(user_id, log) as index:
                hits = None if index is None else await self._find(user_id, index, wanted, loaded=True)
        return hits or []

    async def _embedded(self, text: str, wait: float) -> NDArray[np.float32] | None:
        """Returns the query's vector; None where the embedder is away, or takes longer than `wait` seconds."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(wait):
                return await self._embedder.embed_query(text)
        except (EmbedderAway, TimeoutError) as failure:
            measures.SEARCHES_WITHOUT.labels("meaning").inc()
            _log.warning("search by words alone", why=str(failure) or "the embedder took too long")
            return None
        finally:
            measures.observed("embed", time.monotonic() - began)

    async def _loaded(self, user_id: str, conversation_id: str | None, wait: float) -> UserLog | None:
        """Loads what the user was acknowledged, and returns how far their index is: None where they have nothing."""
        began = time.monotonic()
        standing = await self._indexes.load(user_id, conversation_id)
        loaded = time.monotonic()
        if standing.last_awaited is None:
            measures.observed("index", loaded - began)
            return standing.log
        settled = await self._queue.settle(user_id, standing.last_awaited, wait)
        went_on = time.monotonic()
        measures.observed("settle", went_on - loaded)
        if not settled:
            measures.SEARCHES_WITHOUT.labels("newest").inc()
            _log.warning("search without messages that are not embedded yet")
        log = (await self._indexes.load(user_id)).log
        measures.observed("index", time.monotonic() - went_on + loaded - began)
        return log

    def _wanted(self, query: SearchQuery, vector: NDArray[np.float32] | None) -> IndexQuery:
        trusted = vector is not None and self._embedder.facts.trusts(query.text)
        return IndexQuery(
            np.zeros(self._embedder.facts.dimension, dtype=np.float32) if vector is None else vector,
            query_terms(query.text),
            query.limit,
            query.conversation_id,
            query.filter,
            query.exclude,
            query.neighbours,
            None if query.half_life_ns is None else Recency(time.time_ns(), query.half_life_ns),
            0.0 if vector is None else 1.0 if trusted else UNTRUSTED_DENSE_WEIGHT,
        )

    async def _find(
        self, user_id: str, index: UserIndex, wanted: IndexQuery, *, loaded: bool = False
    ) -> list[Hit] | None:
        """Searches an index and fetches what was found.

        Args:
            user_id: Whose index it is.
            index: Lent to this search.
            wanted: What to look for.
            loaded: Whether it was brought up to date for this search, which is enough; otherwise it must be whole.

        Returns:
            None where it is not whole.

        Raises:
            ConversationNotFound: What is looked for is in none of the user's conversations.
        """
        scored: list[Scored] | None = None
        ranking_seconds = 0.0

        def find() -> list[int]:
            nonlocal scored, ranking_seconds
            began = time.monotonic()
            scored = index.search(wanted)
            ranking_seconds = time.monotonic() - began
            # Hits first: where not all fit one answer, neighbours are left out.
            ids = [one.message_id for one in scored]
            if not wanted.neighbours:
                return ids
            return list(dict.fromkeys((*ids, *(i for one in scored for i in (*one.before, *one.after)))))

        def choose(standing: Standing) -> list[int]:
            nonlocal scored
            scored = None  # it may be asked again, when something has changed
            if standing.last_awaited is not None or not index.has(standing.log):
                return []
            return find()

        began = time.monotonic()
        if loaded:
            messages = await self._store.found_messages(user_id, find)
        else:
            messages = await self._store.chosen_messages(user_id, choose, wanted.conversation_id)
        if scored is None:
            return None
        if not loaded:
            measures.looked_up("hit")  # elsewhere whoever brought it up to date has counted it
        measures.observed("rank", ranking_seconds)
        measures.observed("fetch", time.monotonic() - began - ranking_seconds)
        if wanted.dense_weight < 1:
            scored = [one._replace(similarity=0.0) for one in scored]
        return _hits([one for one in scored if one.message_id in messages], messages)


def _hits(scored: Sequence[Scored], messages: dict[int, Message]) -> list[Hit]:
    """Puts hits and their neighbours together. The neighbours of several hits may be the same, and count each time."""
    hits: list[Hit] = []
    left = _NEIGHBOUR_BYTES
    for one in scored:
        message = messages[one.message_id]
        if not (one.before or one.after):
            hits.append(Hit(message, one))
            continue
        before = tuple(messages[i] for i in one.before if i in messages)
        after = tuple(messages[i] for i in one.after if i in messages)
        left -= sum(len(beside.content.encode()) + _BYTES_BESIDE_TEXT for beside in (*before, *after))
        hits.append(Hit(message, one, before, after) if left >= 0 else Hit(message, one))
    return hits
