"""What is the SQLite file's own: durability settings, deletion from the file, and what is refused at start."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event
from sqlalchemy.pool import Pool

from services.memory.conversation import ConversationChange, ConversationDraft
from services.memory.embedder import FakeEmbedder
from services.memory.message import Append, MessageDraft, MessageQuery, MessageRange, Role
from services.memory.store import open_sqlite_store
from services.memory.store.migrate import newest_revision
from services.memory.store.tables import metadata
from services.rpc.settings import StartupError
from tests.support.user_logs import vectors_after

HOLD_LOCK = """
import sys
from pathlib import Path
from services.memory.store.process_lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def backend():
    return "sqlite"


def bytes_on_disk(path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1), ("busy_timeout", 5000)],
)
async def test_connections_are_set_up_for_durability_and_deletion(desk, pragma, value):
    def read(connection):
        return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()

    assert await desk.store._read(read) == value
    with desk.store._write_engine.begin() as connection:
        assert read(connection) == value


async def test_deleted_text_is_in_no_file_once_the_deletion_is_acknowledged(desk, new_write):
    # Sizes from a few bytes to several pages, deleted among others that stay: pages are split, merged and reused.
    talks = []
    for number in range(30):
        marked = number % 3 == 0
        word = "ТАЙНОЕ-secret" if marked else "stays"
        talk = await desk.store.create_conversation(ConversationDraft(f"{word} title", f"{word} prompt"), new_write())
        talks.append((talk, marked))
        for size in (1, 40, 300, 2_000):
            drafts = tuple(MessageDraft(Role.USER, f"{word} {i} " * size, author=f"{word} author") for i in range(3))
            await desk.store.append_messages(Append(talk.id, drafts), new_write())
    await desk.embed_all(FakeEmbedder())
    assert "ТАЙНОЕ-secret".encode() in bytes_on_disk(desk.path)
    for talk, marked in talks:
        if marked:
            await desk.store.delete_conversation(talk.id, new_write())
    left = bytes_on_disk(desk.path)
    assert "ТАЙНОЕ".encode() not in left
    assert b"secret" not in left
    assert b"stays" in left


async def test_everything_of_a_deleted_user_is_in_no_file_the_user_id_included(desk, new_write):
    user = "ann@example.org"
    talk = await desk.conversation(user, title="ТАЙНОЕ")
    await desk.say(talk.id, "secret " * 900, "secret", user_id=user)
    await desk.embed_all(FakeEmbedder())
    await desk.store.delete_user(new_write(user))
    left = bytes_on_disk(desk.path)
    for gone in ("ТАЙНОЕ".encode(), b"secret", user.encode()):
        assert gone not in left


async def test_text_of_messages_that_were_deleted_alone_is_in_no_file(desk, new_write):
    talk = await desk.conversation()
    for size in (1, 40, 300, 2_000):
        await desk.say(talk.id, *(f"ТАЙНОЕ-secret {i} " * size for i in range(3)), "stays")
    await desk.embed_all(FakeEmbedder())
    for last in (4, 8, 12, 16):
        await desk.store.delete_messages(MessageRange(talk.id, last - 3, last - 1), new_write())
    left = bytes_on_disk(desk.path)
    assert "ТАЙНОЕ".encode() not in left
    assert b"secret" not in left
    assert [m.content for m in await desk.everything(talk.id) if not m.superseded] == ["stays"] * 4


async def test_a_replaced_title_is_in_no_file(desk, new_write):
    talk = await desk.conversation(title="ТАЙНОЕ")
    await desk.store.update_conversation(talk.id, ConversationChange(title="ok"), new_write())
    assert "ТАЙНОЕ".encode() not in bytes_on_disk(desk.path)


async def test_a_deletion_is_acknowledged_while_others_read(desk, new_write):
    talk, gone = await desk.conversation(), await desk.conversation()
    await desk.say(talk.id, *["stays"] * 500)
    await desk.say(gone.id, "secret")
    reading = True

    async def read():
        while reading:
            await desk.store.list_messages("ann", MessageQuery(talk.id, 500))

    readers = [asyncio.create_task(read()) for _ in range(4)]
    try:
        await asyncio.wait_for(desk.store.delete_conversation(gone.id, new_write()), 30)
    finally:
        reading = False
        await asyncio.gather(*readers)
    assert b"secret" not in bytes_on_disk(desk.path)


async def test_what_was_acknowledged_is_there_when_opened_again(tmp_path, new_write):
    path = tmp_path / "memory.db"
    store = await open_sqlite_store(path)
    made = await store.create_conversation(ConversationDraft("Сад", ""), new_write())
    key = await store.page_token_key()
    await store.close()
    store = await open_sqlite_store(path)
    assert await store.get_conversation("ann", made.id) == made
    assert await store.page_token_key() == key
    await store.close()


async def test_migrations_make_the_tables_that_the_code_expects(desk):
    engine = create_engine(f"sqlite:///{desk.path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


async def test_one_process_at_a_time_owns_the_file(desk):
    with pytest.raises(StartupError, match="in use by another memory service"):
        await open_sqlite_store(desk.path)


async def test_a_lock_ends_with_its_process_however_that_ends(tmp_path):
    path = tmp_path / "memory.db"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD_LOCK,
            str(path) + ".lock",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StartupError, match="in use"):
            await open_sqlite_store(path)
        holder.kill()
    await (await open_sqlite_store(path)).close()


async def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "memory.db"
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(StartupError, match=r"memory\.db cannot be used \(file is not a database\)"):
        await open_sqlite_store(path)
    path.unlink()
    await (await open_sqlite_store(path)).close()


async def test_a_database_newer_than_the_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "memory.db"
    await (await open_sqlite_store(path)).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError, match=f"of version 9999, newer than .* up to {newest_revision()}"):
        await open_sqlite_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


async def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "memory.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StartupError, match="not this service's"):
        await open_sqlite_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


async def test_a_folder_in_the_database_s_place_is_refused(tmp_path):
    path = tmp_path / "memory.db"
    path.mkdir()
    with pytest.raises(StartupError, match="Is a directory"):
        await open_sqlite_store(path)


async def test_only_the_service_s_own_user_may_read_the_database(desk):
    await desk.conversation()
    for file in desk.path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


async def test_a_full_disk_refuses_the_write_keeps_nothing_of_it_and_takes_the_next(desk):
    talk = await desk.conversation()

    def allow(pages):
        with desk.store._write_engine.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    allow(60)
    outcomes = await asyncio.gather(
        desk.say(talk.id, "fits"), desk.say(talk.id, "small", "x" * 900_000), return_exceptions=True
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Appended", "Unavailable"]
    assert "x" not in str(outcomes[1])
    allow(100_000)
    await desk.say(talk.id, "next")
    assert [m.content for m in await desk.everything(talk.id)] == ["fits", "next"]


async def test_what_a_turn_asks_for_is_found_by_an_index(tmp_path, new_write):
    asked: set[str] = set()

    def trace(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(asked.add)

    event.listen(Pool, "connect", trace)
    try:
        store = await open_sqlite_store(tmp_path / "memory.db")
        asked.clear()
        talk = await store.create_conversation(ConversationDraft("", ""), new_write())
        said = Append(talk.id, (MessageDraft(Role.USER, "one"), MessageDraft(Role.USER, "two")))
        names = [message.name for message in (await store.append_messages(said, new_write())).messages]
        await store.hold_turn("ann", talk.id, "turn", 1_000_000_000)
        await store.get_conversation("ann", talk.id)
        await store.list_messages("ann", MessageQuery(talk.id, 10, start_sequence=1))
        assert (
            len(await store.messages_by_name("ann", [*names, *(n._replace(sequence=n.sequence + 9) for n in names)]))
            == 2
        )
        await store.next_unembedded(10)
        await store.awaited("ann", 2, 10)
        await store.put_words({1: b"", 2: b""})
        await vectors_after(store, "ann", "any", 0, 10)
        await store.chosen_messages("ann", lambda _: [1, 2])
        await store.end_turn("ann", talk.id, "turn")
        await store.close()
    finally:
        event.remove(Pool, "connect", trace)
    with closing(sqlite3.connect(tmp_path / "memory.db")) as connection:
        for statement in asked:
            if statement.split(maxsplit=1)[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
                assert not [step for step in plan if re.match(r"SCAN (?!\d|CONSTANT)", step)], statement
