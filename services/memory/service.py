"""The memory service: what is built at start, in which order, and how it is taken down."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from chatbot.v1 import memory_service_pb2, memory_service_pb2_grpc
from services.memory.chosen_embedder import chosen_embedder
from services.memory.database import open_store
from services.memory.embedding_queue import EmbeddingQueue
from services.memory.housekeeping import Housekeeping
from services.memory.index_cache import IndexCache
from services.memory.page_token import PageTokens
from services.memory.scoring import Scoring
from services.memory.search import Searcher
from services.memory.servicer import MemoryServicer, Rooms
from services.rpc.settings import variable_name

if TYPE_CHECKING:
    import grpc

    from services.memory.embedder.async_embedder import AsyncEmbedder
    from services.memory.settings import MemorySettings

_MIB = 1024 * 1024


class MemoryService:
    """A `Service` for `services.rpc.server`.

    Args:
        settings: What it is to be like.
        embedder: What to embed with, closed with the service; None: what the settings name.
    """

    full_names = (memory_service_pb2.DESCRIPTOR.services_by_name["MemoryService"].full_name,)
    port_variable = variable_name("memory_grpc_port")
    metrics_port_variable = variable_name("memory_metrics_port")

    def __init__(self, settings: MemorySettings, embedder: AsyncEmbedder | None = None) -> None:
        self.port = settings.memory_grpc_port
        self.metrics_port = settings.memory_metrics_port
        self._settings = settings
        self._embedder = embedder
        self._servicer = MemoryServicer()
        self._taken = AsyncExitStack()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer, which answers UNAVAILABLE until `start` has returned."""
        memory_service_pb2_grpc.add_MemoryServiceServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Opens the database and loads the embedder; meanwhile what searches are scored by is compiled.

        Raises:
            StartupError: The data folder, the database or the embedder cannot be used.
        """
        settings = self._settings
        compiling = asyncio.ensure_future(asyncio.to_thread(Scoring.of_this_machine))
        store = await open_store(settings)
        self._taken.push_async_callback(store.close)
        embedder = self._embedder or await chosen_embedder(settings)
        self._taken.push_async_callback(embedder.close)
        facts = embedder.facts
        await store.queue_other_embedders(facts.id)
        await compiling  # before anything is embedded beside it
        queue = EmbeddingQueue(store, embedder, settings.embedding_batch_size)
        self._taken.push_async_callback(queue.close)
        indexes = IndexCache(store, facts.id, facts.dimension, settings.index_cache_mb * _MIB)
        housekeeping = Housekeeping(store, queue, settings.retention_days)
        self._taken.push_async_callback(housekeeping.close)
        self._servicer.rooms = Rooms(
            store,
            embedder,
            queue,
            indexes,
            Searcher(store, embedder, queue, indexes, settings.search_wait_seconds),
            PageTokens(await store.page_token_key()),
            settings.import_max_mb * _MIB,
        )

    async def stop(self) -> None:
        """Finishes writes under way, stops embedding and closes the database."""
        self._servicer.rooms = None
        await self._taken.aclose()
