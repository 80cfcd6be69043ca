"""Has the embedder that the settings name made ready, where it is to run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from services.memory.embedder.away import EmbedderAway
from services.memory.embedder.load import EmbedderOptions, is_address, load_embedder
from services.memory.embedder.prompts import Prompts
from services.memory.embedder.threads import EmbedderThreads
from services.memory.embedder_process.order import Order
from services.memory.embedder_process.process import EmbedderProcess

if TYPE_CHECKING:
    from services.memory.embedder.async_embedder import AsyncEmbedder
    from services.memory.settings import MemorySettings

_log = structlog.get_logger()

_WAIT_SECONDS = 1.0


async def chosen_embedder(settings: MemorySettings) -> AsyncEmbedder:
    """Loads the embedder that the settings name. Waits for a server that does not answer, a line a second in the log.

    Raises:
        StartupError: It cannot be had or is broken.
    """
    prompts = None
    if settings.embedder_query_prompt is not None or settings.embedder_message_prompt is not None:
        prompts = Prompts(settings.embedder_query_prompt or "", settings.embedder_message_prompt or "")
    threads, batch_size = settings.embedder_threads, settings.embedding_batch_size
    if not is_address(settings.embedder):
        return await EmbedderProcess.start(
            Order(settings.embedder, threads, batch_size, prompts, settings.log_level, settings.log_format)
        )
    options = EmbedderOptions(
        prompts, settings.embedder_model, settings.embedder_api_key, settings.embedder_timeout_seconds
    )
    while True:
        try:
            model = await asyncio.to_thread(load_embedder, settings.embedder, threads, options)
            return EmbedderThreads(model, batch_size)
        except EmbedderAway as away:
            _log.warning("waiting for the embedder", why=str(away))
        await asyncio.sleep(_WAIT_SECONDS)
