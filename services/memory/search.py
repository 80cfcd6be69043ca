"""One search, top to bottom: embed the query, wait for the user's newest messages, search their index, fetch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.memory import measures
from services.memory.embedder.away import EmbedderAway
from services.memory.index import IndexQuery
from services.memory.message import NO_FILTER, Message, MessageFilter, MessageRange
from services.memory.off_loop import off_loop
from services.memory.ranking import UNTRUSTED_DENSE_WEIGHT, Recency
from services.memory.terms import query_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.memory.embedder import EmbedderThread
    from services.memory.embedding_queue import EmbeddingQueue
    from services.memory.index import Scored, UserIndex
    from services.memory.index_cache import IndexCache
    from services.memory.store import Store
    from services.memory.vector import UserLog

_log = structlog.get_logger()

_ON_LOOP = 1_000
"""Messages that are searched on the event loop itself, in a few tenths of a millisecond; more are on a thread."""
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


@dataclass(frozen=True, slots=True)
class Hit:
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
        embedder: EmbedderThread,
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
        if query.conversation_id is not None:
            await self._store.get_conversation(user_id, query.conversation_id)
        wait = self._wait_seconds if time_left is None else min(self._wait_seconds, time_left / 2)
        vector, log = await asyncio.gather(self._embedded(query.text, wait), self._loaded(user_id, wait))
        trusted = vector is not None and self._embedder.trusts(query.text)
        recency = None if query.half_life_ns is None else Recency(time.time_ns(), query.half_life_ns)
        dense_weight = 0.0 if vector is None else 1.0 if trusted else UNTRUSTED_DENSE_WEIGHT
        wanted = IndexQuery(
            np.zeros(self._embedder.dimension, dtype=np.float32) if vector is None else vector,
            query_terms(query.text),
            query.limit,
            query.conversation_id,
            query.filter,
            query.exclude,
            query.neighbours,
            recency,
            dense_weight,
        )
        async with self._indexes.up_to_date(user_id, log) as index:
            if index is None or len(index) == 0:
                return []
            with measures.timed("rank"):
                scored = await _find(index, wanted)
        if not trusted:
            scored = [replace(one, similarity=0.0) for one in scored]
        beside = (i for one in scored for i in (*one.before, *one.after))
        # Hits first: where not all fit one answer, neighbours are left out.
        ids = list(dict.fromkeys((*(one.message_id for one in scored), *beside)))
        with measures.timed("fetch"):
            messages = await self._store.messages_by_id(user_id, ids)
        return _hits([one for one in scored if one.message_id in messages], messages)

    async def _embedded(self, text: str, wait: float) -> NDArray[np.float32] | None:
        """Returns the query's vector; None where the embedder is away, or takes longer than `wait` seconds."""
        try:
            with measures.timed("embed"):
                return await asyncio.wait_for(self._embedder.embed_query(text), wait)
        except (EmbedderAway, TimeoutError) as failure:
            measures.SEARCHES_WITHOUT.labels("meaning").inc()
            _log.warning("search by words alone", why=str(failure) or "the embedder took too long")
            return None

    async def _loaded(self, user_id: str, wait: float) -> UserLog | None:
        """Loads, while the query is embedded, what the user was acknowledged, and returns how far their index is."""
        with measures.timed("settle"):
            settled = await self._queue.settle(user_id, wait)
        if not settled:
            measures.SEARCHES_WITHOUT.labels("newest").inc()
            _log.warning("search without messages that are not embedded yet")
        with measures.timed("index"):
            return await self._indexes.refresh(user_id)


async def _find(index: UserIndex, wanted: IndexQuery) -> list[Scored]:
    if len(index) <= _ON_LOOP:
        return index.search(wanted)
    return await off_loop(index.search, wanted)


def _hits(scored: Sequence[Scored], messages: dict[int, Message]) -> list[Hit]:
    """Puts hits and their neighbours together. The neighbours of several hits may be the same, and count each time."""
    hits: list[Hit] = []
    left = _NEIGHBOUR_BYTES
    for one in scored:
        before = tuple(messages[i] for i in one.before if i in messages)
        after = tuple(messages[i] for i in one.after if i in messages)
        left -= sum(len(message.content.encode()) + _BYTES_BESIDE_TEXT for message in (*before, *after))
        hits.append(
            Hit(messages[one.message_id], one, before, after) if left >= 0 else Hit(messages[one.message_id], one)
        )
    return hits
