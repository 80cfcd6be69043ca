"""What the memory service counts of its own, for Prometheus."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from prometheus_client import Counter, Gauge, Histogram

from services.rpc.metrics import REGISTRY, SECONDS_BUCKETS

EMBEDDED = Counter("chatbot_memory_messages_embedded", "Messages embedded by this process.", registry=REGISTRY)
PENDING = Gauge(
    "chatbot_memory_pending_embeddings",
    "Messages in the database that wait to be embedded, as last counted by this process.",
    registry=REGISTRY,
)
EMBEDDING_SECONDS = Histogram(
    "chatbot_memory_embedding_seconds",
    "How long the embedder took for one batch.",
    ("of",),
    buckets=SECONDS_BUCKETS,
    registry=REGISTRY,
)
CACHE_BYTES = Gauge("chatbot_memory_index_cache_bytes", "Memory that search indexes take.", registry=REGISTRY)
CACHE_USERS = Gauge("chatbot_memory_index_cache_users", "Users whose search index is in memory.", registry=REGISTRY)
CACHE_LOOKUPS = Counter(
    "chatbot_memory_index_cache_lookups",
    "Times that a user's index was wanted, for a search or after a deletion: it was in memory (hit), was not and was "
    "loaded (miss), or was and what had been deleted or embedded anew was taken out of it (stale).",
    ("result",),
    registry=REGISTRY,
)
CACHE_EVICTIONS = Counter(
    "chatbot_memory_index_cache_evictions", "Indexes dropped to make room for others.", registry=REGISTRY
)
SEARCH_SECONDS = Histogram(
    "chatbot_memory_search_seconds",
    "How long each part of a search took: embed (the query); beside that, settle (waiting for the user's newest "
    "messages to be embedded) and index (bringing it up to date); then rank, and fetch (the messages found, "
    "with the wait for the database).",
    ("part",),
    buckets=SECONDS_BUCKETS,
    registry=REGISTRY,
)
SEARCHES_WITHOUT = Counter(
    "chatbot_memory_searches_without",
    "Searches answered without something: meaning (the query could not be embedded), or newest (messages that were "
    "not embedded yet).",
    ("what",),
    registry=REGISTRY,
)


Part: TypeAlias = Literal["embed", "settle", "index", "rank", "fetch"]
# Found once: to ask the library for a label takes longer than to count.
_SECONDS_OF = {part: SEARCH_SECONDS.labels(part) for part in get_args(Part)}


Lookup: TypeAlias = Literal["hit", "miss", "stale"]
_LOOKUPS_OF = {result: CACHE_LOOKUPS.labels(result) for result in get_args(Lookup)}


def looked_up(result: Lookup) -> None:
    """Counts that an index was wanted."""
    _LOOKUPS_OF[result].inc()


def observed(part: Part, seconds: float) -> None:
    """Counts how long a part of a search took."""
    _SECONDS_OF[part].observe(seconds)
