"""`export` and `import`: files that are whole, and imports that are whole or nothing."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from services.memory.command import import_file
from services.memory.command.main import main
from services.memory.conversation import ConversationDraft
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.message import Append, MessageDraft, Role
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.memory.store import WriteRequest, open_sqlite_store
from services.rpc.server import Server


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder: Ann's two conversations and Bo's one."""
    monkeypatch.setenv("CHATBOT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CHATBOT_DATABASE_URL", raising=False)
    (tmp_path / "data").mkdir()

    async def fill() -> None:
        store = await open_sqlite_store(tmp_path / "data" / "memory.db")
        try:
            for user_id, text in (("ann", "peas"), ("ann", "горох\u2028и бобы"), ("bo", "zeppelin")):
                asked = WriteRequest(user_id, str(uuid.uuid4()), b"content")
                conversation = await store.create_conversation(ConversationDraft(f"of {text}", ""), asked)
                asked = WriteRequest(user_id, str(uuid.uuid4()), b"content")
                drafts = tuple(MessageDraft(Role.USER, f"{text} {n}") for n in range(3))
                await store.append_messages(Append(conversation.id, drafts), asked)
        finally:
            await store.close()

    asyncio.run(fill())
    return tmp_path


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments], EmbedderThreads(FakeEmbedder()))


def content(folder: Path) -> bytes:
    """Everything in the database, exported."""
    assert run("export", folder / "content.jsonl", "--force") == 0
    return (folder / "content.jsonl").read_bytes()


def test_everything_goes_out_and_comes_in_byte_for_byte(folder):
    before = content(folder)
    assert before.count(b'{"user":') == 2
    (folder / "data" / "memory.db").unlink()
    assert run("import", folder / "content.jsonl") == 0
    assert content(folder) == before
    assert run("reindex") == 0
    assert run("check") == 0


def test_one_users_export_is_the_services_own_form_and_comes_in_for_another_user(folder, capsys):
    file, again = folder / "ann.jsonl", folder / "cy.jsonl"
    assert run("export", "--user", "ann", file) == 0
    assert "Exported 2 conversations with 6 messages." in capsys.readouterr().err
    assert b'"user"' not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("import", "--user", "cy", file) == 0
    assert "Imported 2 conversations with 6 messages." in capsys.readouterr().err
    assert run("export", "--user", "cy", again) == 0
    assert again.read_bytes() == file.read_bytes()


def test_one_conversation_is_exported_by_its_name(folder, capsysbinary):
    async def first() -> str:
        store = await open_sqlite_store(folder / "data" / "memory.db")
        try:
            return (await store.conversation_ids("ann"))[0]
        finally:
            await store.close()

    name = f"conversations/{asyncio.run(first())}"
    assert run("export", "--user", "ann", "--conversation", name, "-") == 0
    out = capsysbinary.readouterr().out
    assert out.count(b"\n") == 4
    assert b"peas" in out
    assert run("export", "--user", "bo", "--conversation", name, "-") == 2
    assert run("export", "--user", "ann", "--conversation", "garden", "-") == 2
    assert run("export", "--conversation", name, "-") == 2
    assert b"--user" in capsysbinary.readouterr().err


def test_standard_input_and_a_pipe_are_read_too(folder, monkeypatch):
    before = content(folder)
    for user_id in ("ann", "bo"):
        assert run("forget", user_id, "--yes") == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(before)))
    assert run("import", "-") == 0
    assert content(folder) == before
    for user_id in ("ann", "bo"):
        assert run("forget", user_id, "--yes") == 0
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(before,))
    writer.start()
    assert run("import", pipe) == 0
    writer.join()
    assert content(folder) == before


def test_a_file_that_is_there_is_written_over_by_force_alone(folder, capsys):
    file = folder / "ann.jsonl"
    file.write_text("mine")
    assert run("export", "--user", "ann", file) == 2
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert run("export", "--user", "ann", file, "--force") == 0
    assert b"peas" in file.read_bytes()


def test_an_export_that_fails_leaves_nothing_and_what_was_there(folder):
    file = folder / "ann.jsonl"
    file.write_text("mine")
    assert run("export", "--user", "ann", "--conversation", "conversations/none", file, "--force") == 2
    assert file.read_text() == "mine"
    assert sorted(path.name for path in folder.iterdir()) == ["ann.jsonl", "data"]
    assert run("export", folder / "nowhere" / "ann.jsonl") == 2


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (b"not json\n", "Line 10 is no record of an export."),
        (b'{"message":{"content":"zeppelin","sequence":"x"}}\n', "Line 10 is no record of an export."),
        (b"\xff\n", "Line 10 is not UTF-8."),
        (b'{"user":7}\n', "Line 10 is no user of an export."),
        (b'{"user":"cy"}\n{"message":{"content":"zeppelin","role":"ROLE_USER","sequence":"1"}}\n', "after its conv"),
        (b'{"message":{"content":"zeppelin","role":"ROLE_USER","sequence":"9","reply_to":"8"}}\n', "reply_to names no"),
    ],
)
def test_an_import_with_one_wrong_line_stores_nothing_and_says_no_text(folder, capsys, broken, sentence):
    before = content(folder)
    lines = before.splitlines(keepends=True)
    (folder / "broken.jsonl").write_bytes(b"".join(lines[:9]) + broken + b"".join(lines[9:]))
    capsys.readouterr()
    assert run("import", folder / "broken.jsonl") == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "zeppelin" not in said
    assert content(folder) == before


def test_an_import_must_be_somebodys_and_only_once_said(folder, capsys):
    everyone = folder / "all.jsonl"
    run("export", everyone)
    run("export", "--user", "ann", folder / "ann.jsonl")
    assert run("import", folder / "ann.jsonl") == 2
    assert "Line 1 does not say whose it is; give --user." in capsys.readouterr().err
    assert run("import", "--user", "cy", everyone) == 2
    assert "leave --user out" in capsys.readouterr().err


def test_an_import_that_fails_half_way_stores_nothing(folder, monkeypatch, capsys):
    before = content(folder)
    # The first reading finds the file right, the second another one.
    readings: list[int] = []

    def changing(lines, user_id):
        readings.append(1)
        for number, each in enumerate(user_conversations(lines, user_id)):
            if len(readings) == 2 and number == 2:
                raise import_file.InvalidArgument("The file has changed.")
            yield each

    user_conversations = import_file.user_conversations
    monkeypatch.setattr(import_file, "user_conversations", changing)
    assert run("import", folder / "content.jsonl") == 2
    assert len(readings) == 2
    monkeypatch.undo()
    monkeypatch.setenv("CHATBOT_DATA_DIR", str(folder / "data"))
    assert content(folder) == before


def test_a_running_service_exports_imports_forgets_and_tells_how_it_is(folder, capsys):
    before = content(folder)
    file, again = folder / "ann.jsonl", folder / "cy.jsonl"

    async def go() -> None:
        settings = MemorySettings(data_dir=folder / "data", memory_grpc_port=0)
        server = Server(MemoryService(settings, EmbedderThreads(FakeEmbedder())), settings)
        await server.bind()
        await server.start()
        try:
            await asyncio.to_thread(commands, f"127.0.0.1:{server.port}")
        finally:
            await server.stop(0)

    def commands(address: str) -> None:
        assert run("export", file, "--address", address) == 2
        assert run("export", "--user", "ann", file, "--address", address) == 0
        assert run("import", folder / "content.jsonl", "--address", address) == 2
        assert run("import", "--user", "cy", file, "--address", address) == 0
        assert run("export", "--user", "cy", again, "--address", address) == 0
        capsys.readouterr()
        assert run("forget", "cy", "--yes", "--address", address) == 0
        assert capsys.readouterr().out == "Deleted 2 conversations with 6 messages.\n"
        assert again.read_bytes() == file.read_bytes()
        assert run("stats", "--address", address) == 0
        table = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if line)
        assert table["embedder"].strip().startswith("fake/")
        assert table["indexes in memory"].strip() == "0 users, 0 of 536,870,912 bytes"
        assert run("stats", "--json", "--address", address) == 0
        told = json.loads(capsys.readouterr().out)
        assert set(told["vectors"]) <= {told["service"]["embedder"]}
        assert told["pending"] + told["service"]["embedded"] > 0
        assert run("stats", "--largest", "1", "--address", address) == 2
        assert "a service names no users" in capsys.readouterr().err

    asyncio.run(go())
    assert content(folder) == before


def test_a_service_that_is_not_there_is_told_in_a_sentence(folder, capsys):
    assert run("forget", "ann", "--yes", "--address", "127.0.0.1:1") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
