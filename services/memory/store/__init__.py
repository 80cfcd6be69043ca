"""The store: the only place that knows SQL."""

from services.memory.store.postgres import open_postgres_store
from services.memory.store.requests import WriteRequest
from services.memory.store.sqlite import open_sqlite_store
from services.memory.store.store import Store

__all__ = ["Store", "WriteRequest", "open_postgres_store", "open_sqlite_store"]
