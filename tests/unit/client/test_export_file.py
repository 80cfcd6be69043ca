"""A conversation as a file."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.terminal.export_file import file_name, markdown_of, written
from client.terminal.messages import LANGUAGES
from client.values import Conversation, Message, Role


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("What is the capital of France?", "what-is-the-capital-of-france.md"),
        ("Сад и 🍅", "сад-и.md"),
        ("../../etc/passwd", "etc-passwd.md"),
        ("🍅", "conversation.md"),
        ("", "conversation.md"),
        ("a" * 300, "a" * 60 + ".md"),
    ],
)
def test_a_title_makes_a_file_name_in_this_folder(title: str, name: str) -> None:
    assert file_name(title) == name


def test_a_new_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    with written(path, replace=False) as file:
        file.write("текст")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "текст"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    with pytest.raises(FileExistsError), written(path, replace=False) as file:
        file.write("mine")
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text("old")
    with pytest.raises(RuntimeError), written(path, replace=True) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


async def test_markdown_has_every_conversation_and_message_but_replaced_ones() -> None:
    time = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

    async def records() -> AsyncIterator[Conversation | Message]:
        yield Conversation("conversations/1", "Сад\x1b[31m", "Be brief.", time, time, 3, 2, 1)
        yield Message("conversations/1/messages/1", Role.USER, "Hi\x07", time, 1, author="Аня")
        yield Message("conversations/1/messages/2", Role.ASSISTANT, "old", time, 2, superseded=True)
        yield Message("conversations/1/messages/3", Role.ASSISTANT, "# new\n", time, 3)
        yield Conversation("conversations/2", "", "", time, time, 0, 0, 1)

    text = "".join([part async for part in markdown_of(records(), LANGUAGES["en"])])
    local = f"{time.astimezone():%Y-%m-%d %H:%M}"
    assert text == (
        f"# Сад[31m\n\n## Instructions\n\nBe brief.\n"
        f"\n## Аня · {local}\n\nHi\n\n## model · {local}\n\n# new\n\n# untitled\n"
    )
