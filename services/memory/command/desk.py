"""What a command works with: the settings, the database, the embedder."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.memory.chosen_embedder import chosen_embedder
from services.memory.command.outcome import CannotRun
from services.memory.database import DATABASE_FILE, open_store
from services.rpc.settings import variable_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.memory.embedder.async_embedder import AsyncEmbedder
    from services.memory.settings import MemorySettings
    from services.memory.store import Store


@dataclass(frozen=True, slots=True)
class Desk:
    """Opens things when a command asks for them.

    Attributes:
        settings: Those of the memory service.
        given_embedder: What embeds; None: what the settings name.
    """

    settings: MemorySettings
    given_embedder: AsyncEmbedder | None = None

    @asynccontextmanager
    async def store(self, *, make: bool = False) -> AsyncIterator[Store]:
        """Lends the database.

        Args:
            make: Whether an SQLite file is made where there is none.

        Raises:
            CannotRun: There is none.
            StartupError: It cannot be used, or is in use.
        """
        path = self.settings.data_dir / DATABASE_FILE
        if not make and self.settings.database_url is None and not path.exists():
            raise CannotRun(
                f"There is no database {path}; {variable_name('data_dir')} or {variable_name('database_url')} "
                "says where it is."
            )
        store = await open_store(self.settings)
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def embedder(self) -> AsyncIterator[AsyncEmbedder]:
        """Lends what embeds, loaded.

        Raises:
            StartupError: It cannot be had or is broken.
        """
        embedder = self.given_embedder or await chosen_embedder(self.settings)
        try:
            yield embedder
        finally:
            await embedder.close()
