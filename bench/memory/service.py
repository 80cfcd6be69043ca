"""The program that serves memory to measurements: `python -m bench.memory.service PORT FOLDER MESSAGES QUERIES`.

Our service as it is; MESSAGES and QUERIES are `embedded` or `random`: whether the model makes their vectors, or chance,
at once. Serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from services.memory.embedder import Embedder, load_embedder
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.log import configure_logging
from services.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_WAIT_SECONDS = 600.0
"""What is stored for a measurement is embedded before that begins, however long it takes."""


class PartlyRandomEmbedder(Embedder):
    """Gives directions at random, as fast to search as others, where the model is not to be waited for.

    Args:
        model: For what is not random.
        messages: Whether messages' vectors are random.
        queries: Whether queries' vectors are.
    """

    def __init__(self, model: Embedder, *, messages: bool, queries: bool) -> None:
        # One id for both, so that one process finds what another was given.
        self.id = "random" if messages else model.id
        self.dimension = model.dimension
        self.reads_russian = model.reads_russian
        self._model = model
        self._messages = messages
        self._queries = queries
        self._chance = np.random.default_rng(7)

    @override
    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._random(len(texts)) if self._messages else self._model.embed_messages(texts)

    @override
    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._random(len(texts)) if self._queries else self._model.embed_queries(texts)

    def _random(self, count: int) -> NDArray[np.float32]:
        rows = self._chance.standard_normal((count, self.dimension), dtype=np.float32)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


async def _serve(port: int, folder: Path, *, messages: bool, queries: bool) -> None:
    settings = MemorySettings.model_validate(
        {"memory_grpc_port": port, "data_dir": folder, "search_wait_seconds": _WAIT_SECONDS}
    )
    model = load_embedder(settings.embedder, settings.embedder_threads)
    embedder = PartlyRandomEmbedder(model, messages=messages, queries=queries)
    server = Server(MemoryService(settings, embedder=embedder), settings)
    await server.bind()
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(
        sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 1024) else ended.set()
    )
    await ended.wait()
    await server.stop(0)


def main(port: str, folder: str, messages: str, queries: str) -> None:
    """Serves."""
    configure_logging("memory", "warning", "text")
    asyncio.run(_serve(int(port), Path(folder), messages=messages == "random", queries=queries == "random"))


if __name__ == "__main__":
    main(*sys.argv[1:])
