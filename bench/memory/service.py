"""The program that serves memory to measurements: `python -m bench.memory.service PORT FOLDER MESSAGES QUERIES`.

Our service as it is; MESSAGES and QUERIES are `embedded` or `random`: whether the model makes their vectors, or chance,
at once. Serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from services.memory.chosen_embedder import chosen_embedder
from services.memory.embedder import Embedded
from services.memory.embedder.async_embedder import AsyncEmbedder, Kind
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.log import configure_logging
from services.rpc.server import Server, keep_what_is_loaded

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


_WAIT_SECONDS = 600.0
"""What is stored for a measurement is embedded before that begins, however long it takes."""


class PartlyRandomEmbedder(AsyncEmbedder):
    """Gives directions at random, as fast to search as others, where the model is not to be waited for.

    Args:
        model: For what is not random.
        random: What is.
    """

    def __init__(self, model: AsyncEmbedder, random: Collection[Kind]) -> None:
        # One id for both, so that one process finds what another was given.
        self.facts = replace(model.facts, model="random") if Kind.MESSAGES in random else model.facts
        self._model = model
        self._random = random
        self._chance = np.random.default_rng(7)

    @override
    async def close(self) -> None:
        await self._model.close()

    @override
    async def embed(self, kind: Kind, texts: Sequence[str], *, counted: bool = False) -> Embedded:
        if kind not in self._random:
            return await self._model.embed(kind, texts, counted=counted)
        rows = self._chance.standard_normal((len(texts), self.facts.dimension), dtype=np.float32)
        return Embedded(rows / np.linalg.norm(rows, axis=1, keepdims=True), None)


async def _serve(port: int, folder: Path, random: Collection[Kind]) -> None:
    settings = MemorySettings.model_validate(
        {"memory_grpc_port": port, "data_dir": folder, "search_wait_seconds": _WAIT_SECONDS}
    )
    embedder = PartlyRandomEmbedder(await chosen_embedder(settings), random)
    server = Server(MemoryService(settings, embedder=embedder), settings)
    await server.bind()
    await server.start()
    keep_what_is_loaded()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(
        sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 1024) else ended.set()
    )
    await ended.wait()
    await server.stop(0)


def main(port: str, folder: str, messages: str, queries: str) -> None:
    """Serves."""
    configure_logging("memory", "warning", "text")
    made = {Kind.MESSAGES: messages, Kind.QUERY: queries}
    asyncio.run(_serve(int(port), Path(folder), [kind for kind, how in made.items() if how == "random"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
