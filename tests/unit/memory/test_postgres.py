"""What is PostgreSQL's own: what is refused at start, several replicas on one database, and a server that goes away."""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from urllib.parse import quote

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import create_engine
from structlog.testing import capture_logs

from services.memory.conversation import ConversationDraft
from services.memory.embedder import FakeEmbedder
from services.memory.message import Append, MessageDraft, MessageQuery, Role
from services.memory.store import open_postgres_store, replica_rows
from services.memory.store.locks import lock_users
from services.memory.store.migrate import newest_revision
from services.memory.store.tables import metadata
from services.memory.vector import NewVector
from services.rpc.errors import SequenceMismatch, Unavailable
from services.rpc.settings import StartupError
from tests.support.user_logs import vectors_after

SECRET = "s3cret/word"  # noqa: S105 (the tests' own)


@pytest.fixture
def backend():
    return "postgres"


def opened(url: str, wait: float = 0.2):
    return open_postgres_store(SecretStr(url), 6, wait)


def draft(text: str) -> tuple[MessageDraft, ...]:
    return (MessageDraft(Role.USER, text),)


def ask(url: str, statement: str) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def replicas(postgres_url):
    stores = [await opened(postgres_url) for _ in range(3)]
    yield stores
    for store in stores:
        await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        f"mysql://ann:{SECRET}@host/db",
        f"postgresql://ann:{SECRET}@host:x/db",
        f"postgresql://ann:{SECRET}@host/db?nosuch=1",
        f"host=x password={SECRET}",
    ],
)
async def test_a_malformed_address_is_refused_without_being_shown(url):
    with pytest.raises(StartupError, match=r"CHATBOT_DATABASE_URL: must be an address such as") as refusal:
        await opened(url)
    assert SECRET not in str(refusal.value)
    assert "nosuch" not in str(refusal.value)


async def test_a_server_that_is_not_there_is_waited_for_and_then_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        port = taken.getsockname()[1]
        with (
            capture_logs() as lines,
            pytest.raises(StartupError, match=r"the database db on 127\.0\.0\.1 cannot be used \(after 0\.2 s") as no,
        ):
            await opened(f"postgresql://ann:{quote(SECRET, safe='')}@127.0.0.1:{port}/db")
    assert "Connection refused" in str(no.value)
    assert lines[0]["event"] == "waiting for the database"
    assert SECRET not in str(no.value) + str(lines)


async def test_a_wrong_password_and_a_missing_database_are_refused_at_once(postgres):
    if not postgres.execute("SELECT 1 FROM pg_roles WHERE rolname = 'guarded'"):
        postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    with pytest.raises(StartupError, match="password authentication failed") as refusal:
        await opened(postgres.url(user="guarded", password=SECRET), wait=60)
    assert SECRET not in str(refusal.value)
    with pytest.raises(StartupError, match='database "nothing" does not exist'):
        await opened(postgres.url().replace("/postgres?", "/nothing?"), wait=60)


async def test_a_user_who_may_not_make_tables_is_refused_with_what_to_grant(postgres, postgres_url):
    postgres.execute("DROP ROLE IF EXISTS poor")
    postgres.execute("CREATE ROLE poor LOGIN")
    with pytest.raises(StartupError, match=r"its user lacks rights there: GRANT CREATE"):
        await opened(postgres.url("public", user="poor"))


async def test_a_database_in_another_encoding_is_refused(postgres):
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(StartupError, match="holds text as LATIN1"):
        await opened(postgres.url().replace("/postgres?", "/latin?"))


async def test_tables_of_another_program_and_of_a_newer_version_are_refused_and_left_alone(postgres_url):
    ask(postgres_url, "CREATE TABLE recipes (name text)")
    with pytest.raises(StartupError, match="holds tables that are not this service's"):
        await opened(postgres_url)
    ask(postgres_url, "DROP TABLE recipes")
    await (await opened(postgres_url)).close()
    ask(postgres_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError, match=f"of version 9999, newer than .* up to {newest_revision()}"):
        await opened(postgres_url)
    assert ask(postgres_url, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_migrations_make_the_tables_that_the_code_expects(desk, postgres_url):
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(postgres_url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


async def test_replicas_that_start_at_once_migrate_once(postgres_url):
    stores = await asyncio.gather(*(opened(postgres_url, wait=30) for _ in range(4)))
    assert len({await store.page_token_key() for store in stores}) == 1
    for store in stores:
        await store.close()


async def test_a_migration_waits_for_replicas_that_do_not_know_it_to_end(postgres_url, monkeypatch):
    old = await opened(postgres_url)
    known = newest_revision()
    monkeypatch.setattr("services.memory.store.migrate.newest_revision", lambda: "0999")
    monkeypatch.setattr("services.memory.store.postgres.newest_revision", lambda: "0999")
    with pytest.raises(StartupError, match="1 replicas of an older version run on it and have to be stopped"):
        await opened(postgres_url)
    assert ask(postgres_url, "SELECT version_num FROM alembic_version") == [(known,)]
    await old.close()


async def test_a_replica_whose_database_was_migrated_answers_no_more(desk, postgres_url):
    talk = await desk.conversation()
    ask(postgres_url, "UPDATE alembic_version SET version_num = '9999'")
    await desk.store._writers[0].run(desk.store._heartbeat.beat)
    with pytest.raises(Unavailable, match="newer version's"):
        await desk.say(talk.id, "lost")
    with pytest.raises(Unavailable, match="newer version's"):
        await desk.everything(talk.id)


async def test_what_is_acknowledged_is_on_disk_whatever_the_server_s_default(postgres, postgres_url):
    postgres.execute("CREATE ROLE hasty LOGIN SUPERUSER")
    postgres.execute("ALTER ROLE hasty SET synchronous_commit = off")
    store = await opened(postgres_url.replace(f"//{postgres.user}@", "//hasty@"))
    try:
        with store._write_engine.begin() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    finally:
        await store.close()


async def test_a_request_sent_to_all_replicas_at_once_is_carried_out_once(replicas, new_write):
    talk = await replicas[0].create_conversation(ConversationDraft("", ""), new_write())
    for round_number in range(20):
        request = new_write()
        append = Append(talk.id, draft("a") + draft("b"))
        outcomes = await asyncio.gather(*(store.append_messages(append, request) for store in replicas))
        assert sorted(outcome.replayed for outcome in outcomes) == [False, True, True]
        assert {m.sequence for outcome in outcomes for m in outcome.messages} == {
            2 * round_number + 1,
            2 * round_number + 2,
        }
    same = new_write()
    made = await asyncio.gather(*(store.create_conversation(ConversationDraft("", ""), same) for store in replicas))
    assert len({conversation.id for conversation in made}) == 1


async def test_appends_through_all_replicas_are_gapless_and_never_interleave(replicas, new_write):
    users = [f"user-{number}" for number in range(5)]
    talks = [await replicas[0].create_conversation(ConversationDraft("", ""), new_write(user)) for user in users]
    await asyncio.gather(
        *(
            replicas[i % 3].append_messages(
                Append(talks[i % 5].id, tuple(MessageDraft(Role.USER, f"{i} {part}") for part in "abc")),
                new_write(users[i % 5]),
            )
            for i in range(300)
        )
    )
    for user, talk in zip(users, talks, strict=True):
        stored = (await replicas[1].list_messages(user, MessageQuery(talk.id, 1000))).messages
        assert [m.sequence for m in stored] == list(range(1, 181))
        for first in range(0, 180, 3):
            number = stored[first].content.split()[0]
            assert [m.content for m in stored[first : first + 3]] == [f"{number} {part}" for part in "abc"]


async def test_of_appends_that_expect_the_same_sequence_one_wins(replicas, new_write):
    talk = await replicas[0].create_conversation(ConversationDraft("", ""), new_write())
    outcomes = await asyncio.gather(
        *(
            store.append_messages(Append(talk.id, draft("turn"), expected_last_sequence=0), new_write())
            for store in replicas * 3
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Appended"] + ["SequenceMismatch"] * 8
    refused = next(outcome for outcome in outcomes if isinstance(outcome, SequenceMismatch))
    assert refused.metadata == {"last_sequence": "1", "expected_last_sequence": "0"}


async def test_writes_deletions_and_embedding_at_once_never_lock_each_other_up(replicas, new_write):
    """Many users' batches, vectors of several users in one go, and whole users deleted, on three replicas."""
    embedder = FakeEmbedder()
    users = [f"user-{number}" for number in range(8)]

    async def work(number):
        store, user = replicas[number % 3], users[number % 8]
        talk = await store.create_conversation(ConversationDraft("", ""), new_write(user))
        await store.append_messages(Append(talk.id, draft("one") + draft("two")), new_write(user))
        waiting = await store.next_unembedded(16)
        rows = embedder.embed_messages([m.content for m in waiting]) if waiting else []
        vectors = {
            m.message_id: NewVector(row.astype("<f2").tobytes(), b"") for m, row in zip(waiting, rows, strict=True)
        }
        await store.put_vectors(embedder.id, vectors, embedder.dimension)
        if number % 5 == 0:
            await store.delete_user(new_write(user))
        elif number % 5 == 1:
            await store.delete_conversation(talk.id, new_write(user))

    with capture_logs() as lines:
        outcomes = await asyncio.gather(*(work(number) for number in range(120)), return_exceptions=True)
    # A conversation may have gone with its user before its own turn to be written to or deleted.
    assert {type(outcome).__name__ for outcome in outcomes} <= {"NoneType", "ConversationNotFound"}
    assert lines == []


async def test_positions_of_vectors_stored_by_two_replicas_are_one_log(replicas, new_write):
    talk = await replicas[0].create_conversation(ConversationDraft("", ""), new_write())
    for number in range(20):
        await replicas[number % 2].append_messages(Append(talk.id, draft(f"{number}")), new_write())

    async def embed(store):
        while waiting := await store.next_unembedded(3):
            await store.put_vectors("fake", {m.message_id: NewVector(bytes(128), b"") for m in waiting}, 64)

    await asyncio.gather(embed(replicas[0]), embed(replicas[1]))
    rows = await vectors_after(replicas[2], "ann", "fake", 0, 100)
    assert rows.positions.tolist() == list(range(1, 21))


async def test_a_message_is_embedded_by_the_replica_that_took_it_and_by_another_once_that_is_dead(replicas, new_write):
    first, second, third = replicas
    talk = await first.create_conversation(ConversationDraft("", ""), new_write())
    await first.append_messages(Append(talk.id, draft("one") + draft("two")), new_write())
    assert await second.next_unembedded(10) == []
    assert [m.content for m in await first.next_unembedded(10)] == ["one", "two"]
    # What a search waits for is anybody's.
    assert len(await second.awaited("ann", 10**9, 10)) == 2
    with second._write_engine.begin() as connection:
        replica_rows.retire(connection, first._replica)
    taken = await asyncio.gather(second.next_unembedded(1), third.next_unembedded(1))
    assert sorted(m.content for each in taken for m in each) == ["one", "two"]


async def test_a_replica_that_ends_hands_its_work_on_at_once(postgres_url, new_write):
    first, second = await opened(postgres_url), await opened(postgres_url)
    talk = await first.create_conversation(ConversationDraft("", ""), new_write())
    await first.append_messages(Append(talk.id, draft("one")), new_write())
    await first.close()
    assert [m.content for m in await second.next_unembedded(10)] == ["one"]
    await second.close()


async def test_a_dead_replica_is_forgotten_once_it_left_no_work(desk, postgres_url):
    ask(postgres_url, "INSERT INTO replicas VALUES ('idle', '0001', 0), ('busy', '0001', 0)")
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    ask(postgres_url, "UPDATE unembedded SET replica = 'busy'")
    with desk.store._write_engine.begin() as connection:
        replica_rows.beat(connection, desk.store._replica, "0001")
    assert {row[0] for row in ask(postgres_url, "SELECT id FROM replicas")} == {"busy", desk.store._replica}


async def test_a_replica_says_by_itself_that_it_lives(postgres_url, monkeypatch):
    monkeypatch.setattr("services.memory.store.heartbeat._EVERY_SECONDS", 0.01)
    store = await opened(postgres_url)
    ask(postgres_url, "UPDATE replicas SET alive_until_ns = 1")
    async with asyncio.timeout(30):
        while ask(postgres_url, "SELECT alive_until_ns FROM replicas") == [(1,)]:
            await asyncio.sleep(0.01)
    await store.close()
    assert ask(postgres_url, "SELECT alive_until_ns FROM replicas") == [(0,)]


async def test_a_user_whose_lock_somebody_keeps_holds_nobody_else_up(postgres_url, new_write, monkeypatch):
    monkeypatch.setattr("services.memory.store.postgres._SESSION", ("SET lock_timeout = '100ms'",))
    store = await open_postgres_store(SecretStr(postgres_url), 2, 10)
    assert len(store._writers) == 1
    talks = {
        user: await store.create_conversation(ConversationDraft("", ""), new_write(user)) for user in ("ann", "bob")
    }

    def say(user):
        return store.append_messages(Append(talks[user].id, draft("hello")), new_write(user))

    hanging = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(postgres_url))
    with hanging.begin() as connection:
        lock_users(connection, ["ann"])
        outcomes = await asyncio.gather(*(say(user) for user in ("bob", "ann", "bob")), return_exceptions=True)
    hanging.dispose()
    assert [type(outcome).__name__ for outcome in outcomes] == ["Appended", "Unavailable", "Appended"]
    assert [m.sequence for m in (await say("ann")).messages] == [1]
    assert [m.sequence for m in (await say("bob")).messages] == [3]
    await store.close()


async def test_reads_whose_callers_have_gone_leave_their_connections_behind(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, *["word"] * 200)
    for _ in range(30):
        tasks = [asyncio.create_task(desk.everything(talk.id)) for _ in range(5)]
        await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(await desk.everything(talk.id)) == 200


async def test_a_restarted_server_is_used_again_and_has_kept_what_was_acknowledged(new_cluster, new_write):
    cluster = new_cluster()
    store = await opened(cluster.url())
    talk = await store.create_conversation(ConversationDraft("", ""), new_write())
    kept = []
    for number in range(3):
        request_id = str(uuid.uuid4())
        await store.append_messages(Append(talk.id, draft(f"{number}")), new_write(request_id=request_id))
        kept.append(f"{number}")
        await store.list_messages("ann", MessageQuery(talk.id, 10))
        cluster.stop(signal.SIGQUIT)
        with pytest.raises(Unavailable):
            await store.list_messages("ann", MessageQuery(talk.id, 10))
        with pytest.raises(Unavailable):
            await store.append_messages(Append(talk.id, draft("lost")), new_write())
        cluster.start()
        page = await store.list_messages("ann", MessageQuery(talk.id, 10))
        assert [m.content for m in page.messages] == kept
    await store.close()


async def test_a_server_connection_that_is_killed_is_replaced_without_the_caller_s_notice(desk, postgres_url):
    talk = await desk.conversation()
    for number in range(5):
        ask(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chatbot-memory'",
        )
        await desk.say(talk.id, f"{number}")
        assert [m.content for m in await desk.everything(talk.id)] == [f"{n}" for n in range(number + 1)]


async def test_deleted_text_is_in_no_table_file_after_a_full_vacuum(new_cluster, new_write):
    """What docs/operations.md states: gone from every query at once, from the tables' files after VACUUM FULL."""
    cluster = new_cluster()
    store = await opened(cluster.url())
    gone = await store.create_conversation(ConversationDraft("secret title", "secret prompt"), new_write())
    stays = await store.create_conversation(ConversationDraft("stays", ""), new_write())
    for talk, word in ((gone, "secret"), (stays, "stays")):
        # Short ones, and ones that the server keeps outside of their row; incompressible, so word for word.
        texts = [
            "short",
            *(f"{word} {uuid.uuid4()} " * 3 for _ in range(50)),
            " ".join(str(uuid.uuid4()) for _ in range(500)) + word,
        ]
        await store.append_messages(Append(talk.id, tuple(MessageDraft(Role.USER, t) for t in texts)), new_write())
    long_text = (await store.list_messages("ann", MessageQuery(gone.id, 1, newest_first=True))).messages[0].content
    await store.delete_conversation(gone.id, new_write())
    assert ask(cluster.url(), "SELECT count(*) FROM messages WHERE content LIKE '%secret%'") == [(0,)]
    assert ask(cluster.url(), "SELECT count(*) FROM conversations WHERE title LIKE '%secret%'") == [(0,)]
    await store.close()
    ask(cluster.url(), "VACUUM FULL")
    ask(cluster.url(), "CHECKPOINT")
    left = b"".join(file.read_bytes() for file in (cluster.data / "base").rglob("*") if file.is_file())
    assert b"stays" in left
    assert b"secret" not in left
    assert long_text[:30].encode() not in left
