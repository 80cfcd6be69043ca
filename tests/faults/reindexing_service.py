"""The memory service with an embedder without weights, which says how many messages it is given: a line each time.

    CHATBOT_DATA_DIR=FOLDER CHATBOT_EMBEDDER=NAME PYTHONPATH=.:gen python tests/faults/reindexing_service.py

Vectors of two names are as different as those of two models. Serves until it is killed.
"""

from __future__ import annotations

import asyncio
import sys

from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.log import configure_logging
from services.rpc.server import Server


class TellingEmbedder(FakeEmbedder):
    """Says what it is about to embed."""

    def embed_messages(self, texts):
        # Written at once: where it is killed, the line is there or not.
        sys.stdout.write(f"embedding {len(texts)}\n")
        sys.stdout.flush()
        return super().embed_messages(texts)


async def serve() -> None:
    """Serves, and says at which port, and when it is ready."""
    settings = MemorySettings()
    server = Server(MemoryService(settings, EmbedderThreads(TellingEmbedder(id=settings.embedder))), settings)
    await server.bind()
    print("port", server.port, flush=True)
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    configure_logging("memory", "warning", "text")
    asyncio.run(serve())
