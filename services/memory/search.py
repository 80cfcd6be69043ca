"""One search, top to bottom: embed the query, wait for the user's newest messages, search their index, fetch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from services.memory.message import NO_FILTER, Message, MessageFilter, MessageRange
from services.memory.off_loop import off_loop

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from services.memory.embedder import EmbedderThread
    from services.memory.embedding_queue import EmbeddingQueue
    from services.memory.index import UserIndex
    from services.memory.index_cache import IndexCache
    from services.memory.ranking import Scored
    from services.memory.store import Store

_log = structlog.get_logger()

_ON_LOOP = 2_000
"""Vectors that are searched on the event loop itself, in a tenth of a millisecond; more are searched on a thread."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to look for. `conversation_id` None: in all of the user's."""

    text: str
    limit: int
    conversation_id: str | None = None
    filter: MessageFilter = NO_FILTER
    exclude: tuple[MessageRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A message found, and the cosine of its vector and the query's: -1 to 1."""

    message: Message
    similarity: float


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
        where more would not fit one answer.

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
        vector, settled = await asyncio.gather(
            self._embedder.embed_query(query.text), self._queue.settle(user_id, wait)
        )
        if not settled:
            _log.warning("search without messages that are not embedded yet")
        async with self._indexes.up_to_date(user_id) as index:
            if index is None or len(index) == 0:
                return []
            scored = await _find(index, vector, query)
        messages = await self._store.messages_by_id(user_id, [one.message_id for one in scored])
        return [Hit(messages[one.message_id], one.similarity) for one in scored if one.message_id in messages]


async def _find(index: UserIndex, vector: NDArray[np.float32], query: SearchQuery) -> list[Scored]:
    arguments = (vector, query.limit, query.conversation_id, query.filter, query.exclude)
    if len(index) <= _ON_LOOP:
        return index.search(*arguments)
    return await off_loop(index.search, *arguments)
