"""A database of an earlier version is taken over, and found by what it did not have then."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

import services.memory
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.embedding_queue import EmbeddingQueue
from services.memory.index_cache import IndexCache
from services.memory.search import Searcher, SearchQuery
from services.memory.store import open_sqlite_store
from services.memory.store.tables import metadata

FIRST_VERSION = (
    "INSERT INTO conversations VALUES ('c', 'ann', '', '', 0, 1, 1, 1, 1, 1)",
    "INSERT INTO messages VALUES (1, 'c', 1, 2, 'помидоры растут', 29, NULL, 1, 0, NULL, NULL, NULL, NULL, 0, '')",
    "INSERT INTO users VALUES ('ann', 1, 5)",
    "INSERT INTO vectors VALUES (1, 'ann', 'fake', 64, 1, zeroblob(128))",
)


def database_of_the_first_version(file: Path) -> None:
    engine = create_engine(f"sqlite:///{file}")
    config = Config()
    config.set_main_option("script_location", str(Path(services.memory.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        config.attributes["on_version_apply"] = None
        command.upgrade(config, "0001")
        for statement in FIRST_VERSION:
            connection.execute(text(statement))
    engine.dispose()


async def test_what_the_first_version_stored_is_found_by_words_and_goes_on(tmp_path):
    database_of_the_first_version(tmp_path / "memory.db")
    store = await open_sqlite_store(tmp_path / "memory.db")
    thread = EmbedderThreads(FakeEmbedder(), 8)
    await store.queue_other_embedders(thread.facts.id)
    queue = EmbeddingQueue(store, thread, 8)
    searcher = Searcher(store, thread, queue, IndexCache(store, thread.facts.id, 64, 1 << 20), 30)
    while await store.count_unembedded():
        await asyncio.sleep(0.01)
    (hit,) = await searcher.search("ann", SearchQuery("Помидор", 5))
    await queue.close()
    await thread.close()
    await store.close()
    assert hit.scored.word_share == 1


async def test_it_comes_to_have_the_tables_that_the_program_works_with(tmp_path):
    database_of_the_first_version(tmp_path / "memory.db")
    store = await open_sqlite_store(tmp_path / "memory.db")
    await store.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'memory.db'}")
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert found == []
