"""The operators' commands, as they are given, on real databases."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import structlog
from pydantic import SecretStr

from services.memory.command.main import main
from services.memory.conversation import ConversationDraft
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.message import Append, MessageDraft, Role
from services.memory.store import Store, WriteRequest, open_postgres_store, open_sqlite_store
from services.memory.vector import UserLog
from tests.support.user_logs import standing_of

T = TypeVar("T")
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHATBOT_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CHATBOT_DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def on_sqlite(folder: Path) -> Callable[[Callable[[Store], Awaitable[T]]], T]:
    def run(work: Callable[[Store], Awaitable[T]]) -> T:
        async def go() -> T:
            store = await open_sqlite_store(folder / "memory.db")
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(go())

    return run


def request(user_id: str) -> WriteRequest:
    return WriteRequest(user_id, str(uuid.uuid4()), b"content")


async def fill(store: Store) -> None:
    """Ann has two conversations, Bo one; five messages, one of them superseded."""
    for user_id, title, texts in (
        ("ann", "garden", ("When do I sow peas?", "In March.")),
        ("ann", "", ("Сколько будет дважды два?",)),
        ("bo", "secret plans", ("zeppelin\u2028over Leipzig",)),
    ):
        conversation = await store.create_conversation(ConversationDraft(title, "be kind"), request(user_id))
        drafts = tuple(MessageDraft(Role.USER, text, author=user_id) for text in texts)
        await store.append_messages(Append(conversation.id, drafts), request(user_id))
        if title == "garden":
            again = Append(conversation.id, (MessageDraft(Role.ASSISTANT, "In April."),), supersede_from_sequence=2)
            await store.append_messages(again, request(user_id))


@pytest.fixture
def filled(folder: Path, on_sqlite) -> Path:
    on_sqlite(fill)
    return folder / "memory.db"


def run(*arguments: str) -> int:
    return main(arguments, EmbedderThreads(FakeEmbedder()))


def change(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    try:
        connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def numbers(capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert run("stats", "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", [["check"], ["reindex"], ["export", "x"], ["forget", "ann", "--yes"], ["stats"]])
def test_without_a_database_nothing_is_made_and_the_sentence_names_the_settings(folder, capsys, command):
    assert run(*command) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: There is no database ")
    assert "CHATBOT_DATA_DIR" in said
    assert list(folder.iterdir()) == []


def test_beside_a_running_service_a_command_says_that_it_must_stop(filled, capsys):
    async def go() -> int:
        store = await open_sqlite_store(filled)
        try:
            return await asyncio.to_thread(run, "stats")
        finally:
            await store.close()

    assert asyncio.run(go()) == 2
    assert "is in use by another memory service; stop that one" in capsys.readouterr().err


def test_a_wrong_setting_is_told_in_a_sentence(filled, capsys, monkeypatch):
    monkeypatch.setenv("CHATBOT_EMBEDDING_BATCH_SIZE", "none")
    assert run("stats") == 2
    assert capsys.readouterr().err.startswith("error: CHATBOT_EMBEDDING_BATCH_SIZE=none: ")


@pytest.mark.parametrize("command", ["check", "reindex", "export", "import", "forget", "stats"])
def test_every_command_explains_itself_and_its_exit_status(command, capsys):
    with pytest.raises(SystemExit) as ended:
        run(command, "--help")
    assert ended.value.code == 0
    assert "exit status: 0 done" in capsys.readouterr().out


def test_what_waits_to_be_embedded_is_no_fault(filled, capsys):
    assert run("check") == 0
    said = capsys.readouterr()
    assert said.out == "5 messages in 3 conversations of 2 users: nothing is wrong.\n"
    assert "4 messages wait to be embedded" in said.err


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("DELETE FROM messages WHERE content = 'When do I sow peas?'", "sequences have gaps"),
        ("UPDATE conversations SET last_sequence = 7 WHERE title = 'garden'", "its last sequence is 7"),
        ("UPDATE conversations SET message_count = 9 WHERE title = 'garden'", "it counts 9 messages and has 2"),
        ("UPDATE conversations SET window_start_sequence = 9 WHERE title = 'garden'", "its window starts at 9"),
        ("UPDATE messages SET reply_to = 3 WHERE content = 'In March.'", "1 messages reply to none before them"),
        ("UPDATE messages SET request_id = 'x' WHERE content = 'In March.'", "1 messages carry no request id"),
        (
            "UPDATE messages SET request_id = '123e4567-e89b-12d3-a456-426614174000' WHERE content = 'In April.'",
            "message 3 does not carry the request id that stored it",
        ),
        ("UPDATE messages SET id = 100 WHERE content = 'In March.'", "not stored in the order of their sequences"),
        ("UPDATE requests SET message_count = 9 WHERE first_sequence = 3", "a request's record names messages"),
        ("DELETE FROM conversations WHERE title = 'garden'", "3 messages of no conversation"),
        ("DELETE FROM conversations WHERE title = 'garden'", "rows break a foreign key"),
        ("UPDATE vectors SET user_id = 'bo', position = position + 50 WHERE user_id = 'ann'", "under another user"),
        ("DELETE FROM users WHERE user_id = 'ann'", "past the end of their user's log"),
        ("DELETE FROM vectors WHERE user_id = 'bo'", "1 messages have no vector and do not wait for one"),
        ("UPDATE vectors SET embedder = 'other' WHERE user_id = 'bo'", "1 vectors are another embedder's"),
        ("UPDATE vectors SET vector = x'0000' WHERE user_id = 'bo'", "1 vectors are not of 64 dimensions"),
        ("UPDATE vectors SET dimension = 3 WHERE user_id = 'bo'", "1 vectors are not of 64 dimensions"),
        ("UPDATE vectors SET terms = x'' WHERE user_id = 'bo'", "1 messages have no words to be found by"),
        ("UPDATE messages SET superseded = 1 WHERE content LIKE 'zeppelin%'", "1 superseded or empty messages have"),
    ],
)
def test_check_finds_each_fault_and_says_no_text(filled, capsys, damage, finding):
    assert run("reindex") == 0
    assert run("check") == 0
    capsys.readouterr()
    change(filled, damage)
    assert run("check") == 1
    said = capsys.readouterr().out
    assert finding in said
    for text in ("zeppelin", "peas", "March", "secret plans", "be kind"):
        assert text not in said


def test_check_finds_damage_to_the_file(filled, capsys):
    connection = sqlite3.connect(filled)
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("DELETE FROM sqlite_master WHERE name = 'conversations_by_use'")
    connection.commit()
    connection.close()
    assert run("check") == 1
    assert "database: SQLite finds damage: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM vectors",
        "UPDATE vectors SET embedder = 'other'",
        "UPDATE vectors SET vector = x'0000'",
        "UPDATE vectors SET terms = x''",
    ],
)
def test_reindex_mends_what_cannot_be_searched_and_leaves_the_rest(filled, capsys, damage):
    run("reindex")
    change(filled, f"{damage} WHERE user_id = 'ann'")
    capsys.readouterr()
    assert run("reindex") == 0
    assert "Embedded 3 messages." in capsys.readouterr().err
    assert run("check") == 0


def test_reindex_all_embeds_everything_anew_and_has_indexes_in_memory_follow(filled, on_sqlite, capsys):
    run("reindex")
    before = on_sqlite(lambda store: standing_of(store, "ann")).log
    capsys.readouterr()
    assert run("reindex", "--all") == 0
    assert "Embedded 4 messages." in capsys.readouterr().err
    after = on_sqlite(lambda store: standing_of(store, "ann")).log
    assert after == UserLog(before.last_position + 3, before.deletion_counter)
    assert run("check") == 0


def test_reindex_keeps_what_is_done_when_it_is_ended_and_goes_on(filled, monkeypatch, capsys):
    monkeypatch.setenv("CHATBOT_EMBEDDING_BATCH_SIZE", "1")

    class EndedAtTheThird(FakeEmbedder):
        def embed_messages(self, texts):
            if len(self.batches) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return super().embed_messages(texts)

    assert main(["reindex"], EmbedderThreads(EndedAtTheThird())) == 130
    assert "Stopped." in capsys.readouterr().err
    done = sum(numbers(capsys)["vectors"].values())
    assert 2 <= done < 4
    assert run("reindex") == 0
    assert f"Embedded {4 - done} message" in capsys.readouterr().err


def test_stats_are_numbers_and_name_users_on_request_alone(filled, capsys):
    run("reindex")
    found = numbers(capsys)
    assert (found["users"], found["conversations"], found["messages"], found["superseded"]) == (2, 3, 5, 1)
    texts = ["When do I sow peas?", "In March.", "In April.", "Сколько будет дважды два?", "zeppelin\u2028over Leipzig"]
    texts += ["garden", "secret plans", *["be kind"] * 3]
    assert found["text_bytes"] == sum(len(text.encode()) for text in texts)
    assert found["database_bytes"] == filled.stat().st_size
    assert list(found["vectors"].values()) == [4]
    assert found["pending"] == 0
    assert run("stats") == 0
    plain = capsys.readouterr().out
    assert "'ann'" not in plain
    assert "4" in plain
    assert run("stats", "--largest", "1") == 0
    assert "user 'ann'  " in capsys.readouterr().out


def test_forgetting_leaves_no_byte_and_no_other_user_is_touched(filled, capsys):
    run("reindex")
    assert run("forget", "bo", "--yes") == 0
    assert capsys.readouterr().out == "Deleted 1 conversation with 1 message.\n"
    for file in filled.parent.glob("memory.db*"):
        assert not any(text in file.read_bytes() for text in (b"zeppelin", b"Leipzig", b"secret plans"))
    assert numbers(capsys)["messages"] == 4
    assert run("check") == 0
    assert run("forget", "bo", "--yes") == 0


def test_forgetting_asks_first_and_without_a_terminal_refuses(filled, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run("forget", "bo") == 2
    assert "--yes" in capsys.readouterr().err
    for answer, status, left in (("\n", 2, 5), ("no\n", 2, 5), ("y\n", 0, 4)):
        stream = io.StringIO(answer)
        stream.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", stream)
        assert run("forget", "bo") == status
        assert numbers(capsys)["messages"] == left


def test_on_postgresql_every_command_does_the_same_beside_a_running_service(
    postgres_url, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("CHATBOT_DATABASE_URL", postgres_url)
    running: list[Store] = []

    async def go() -> None:
        running.append(await open_postgres_store(SecretStr(postgres_url), 4, 10))
        await fill(running[0])
        # What this replica stored it would embed itself; its end hands that over.
        await running[0].close()
        other = await open_postgres_store(SecretStr(postgres_url), 4, 10)
        try:
            await asyncio.to_thread(commands)
        finally:
            await other.close()

    def commands() -> None:
        assert run("check") == 0
        assert run("reindex") == 0
        assert "Embedded 4 messages." in capsys.readouterr().err
        assert run("reindex", "--all") == 0
        assert run("check") == 0
        found = numbers(capsys)
        assert (found["users"], found["messages"], found["pending"]) == (2, 5, 0)
        assert found["database_bytes"] > 0
        assert run("stats", "--largest", "2") == 0
        file, again = tmp_path / "all.jsonl", tmp_path / "again.jsonl"
        assert run("export", str(file)) == 0
        assert run("forget", "ann", "--yes") == 0
        assert run("forget", "bo", "--yes") == 0
        assert run("import", str(file)) == 0
        assert run("export", str(again)) == 0
        assert again.read_bytes() == file.read_bytes()
        assert run("check") == 0

    asyncio.run(go())


def test_as_a_program_it_says_a_sentence_and_no_traceback(tmp_path):
    env = os.environ | {
        "CHATBOT_DATA_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "gen")]),
    }
    (tmp_path / "memory.db").write_bytes(b"no database at all" * 100)
    ended = subprocess.run(
        [sys.executable, "-m", "services.memory.command", "stats"],
        check=False,
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: The database ")
    assert ended.stderr.count("\n") == 1
