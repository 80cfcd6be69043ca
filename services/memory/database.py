"""Opens the database that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.memory.store import open_postgres_store, open_sqlite_store
from services.rpc.settings import usable_data_dir

if TYPE_CHECKING:
    from services.memory.settings import MemorySettings
    from services.memory.store import Store

DATABASE_FILE = "memory.db"
"""Name of the database in the data folder."""


async def open_store(settings: MemorySettings) -> Store:
    """Opens it, making or migrating it where needed.

    Raises:
        StartupError: The data folder or the database cannot be used.
    """
    if settings.database_url is not None:
        return await open_postgres_store(
            settings.database_url, settings.database_connections, settings.database_wait_seconds
        )
    return await open_sqlite_store(usable_data_dir(settings.data_dir) / DATABASE_FILE)
