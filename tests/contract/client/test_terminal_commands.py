"""The terminal's commands about recall, prompts, statistics, files and itself, and what Tab makes of them."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from chatbot.v1 import chat_service_pb2 as pb
from tests.contract.client.terminal_driver import CTRL_C, ENTER, TAB, TerminalDriver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.contract.client.scripted_chat import RunningChat


@pytest.fixture
def terminal(open_terminal: Callable[..., TerminalDriver], tmp_path: Path) -> TerminalDriver:
    """A terminal at its first prompt, in a folder of its own."""
    opened = open_terminal(columns=100, lines=60, folder=tmp_path)
    opened.wait_for_prompt()
    return opened


def say(terminal: TerminalDriver, text: str) -> None:
    terminal.say(text)
    terminal.wait_for(f"You said: {text}\n")
    terminal.wait_for_prompt()


def test_what_was_recalled_stands_under_the_reply_on_one_line_each_and_opens(
    terminal: TerminalDriver, running: RunningChat
) -> None:
    terminal.say("Помидоры 🍅🍅 " + "очень " * 30 + "спелые")
    terminal.wait_for("очень спелые\n>")
    terminal.say("/new")
    terminal.wait_for("A new conversation.\n>")
    terminal.say("recall спелые")
    screen = terminal.wait_for("/open 2\n", times=2)
    assert "You said: recall спелые\n↳ 2026-05-28 you: Помидоры" in screen
    recalled = [row for row in screen.split("\n") if row.startswith("↳")]
    assert all(row.endswith("…  /open 2") for row in recalled)
    assert b"\x1b[2m\xe2\x86\xb3" in terminal.raw  # dim
    terminal.wait_for_prompt()
    terminal.say("/recall")
    assert terminal.wait_for("спелые  /open 2").count("recall: on") == 1
    terminal.say("/open 2")
    terminal.wait_for("2 messages.\n> Помидоры")


def test_recall_is_switched_off_and_on(terminal: TerminalDriver, running: RunningChat) -> None:
    say(terminal, "ripe tomatoes")
    terminal.say("/recall off")
    terminal.wait_for("recall: off;")
    say(terminal, "recall tomatoes")
    assert "↳" not in terminal.text()
    terminal.say("/context Hi")
    terminal.wait_for("frame the parts")
    requests = [r for r in running.service.requests if isinstance(r, (pb.ChatRequest, pb.GetContextRequest))]
    assert [r.recall.HasField("enabled") for r in requests] == [False, True, True]
    terminal.say("/recall maybe")
    terminal.wait_for("/recall wants on or off, not maybe.")
    terminal.say("/recall on")
    terminal.wait_for("recall: on\n>")
    terminal.say("recall tomatoes")
    terminal.wait_for("↳")


def test_statistics_of_the_last_reply_and_the_session(terminal: TerminalDriver) -> None:
    terminal.say("/stats")
    terminal.wait_for("No reply has been written in this session yet.")
    say(terminal, "one")
    terminal.say("/stats")
    screen = terminal.wait_for("prompt: 7 tokens, 4 of them cached (57%)\n>")
    assert "last reply: 3 tokens, 20.0 tokens/s\nfirst token: after 0.50 s (queue 0.25 s, reading the prompt" in screen
    assert "session:" not in screen
    say(terminal, "two")
    terminal.say("/stats")
    terminal.wait_for("session: 2 replies, 6 tokens written, 14 read, 57% of those cached")


def test_the_prompt_is_shown_section_by_section_and_nothing_is_said(
    terminal: TerminalDriver, running: RunningChat
) -> None:
    terminal.say("/context")
    terminal.wait_for("/context wants the text of a message")
    terminal.say("/context Привет, 日本")
    screen = terminal.wait_for("(the messages before number 5 are left to recall)")
    assert (
        "system prompt · 2 tokens\n    Be brief.\nthis message · 3 tokens\n    Привет, 日 本\n"
        "prompt: 9 of 2048 tokens; 4 of them frame the parts\n"
    ).replace("日 本", "日本") in screen.replace("日 本", "日本")
    assert running.service.users[""].conversations == {}


def test_a_conversation_is_written_as_markdown_named_after_its_title(terminal: TerminalDriver, tmp_path: Path) -> None:
    terminal.say("/export")
    terminal.wait_for("Nothing has been said in this conversation yet.")
    say(terminal, "Красные помидоры!")
    terminal.say("/export")
    terminal.wait_for("2 messages in красные-помидоры.md\n>")
    file = tmp_path / "красные-помидоры.md"
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# Красные помидоры!\n\n## you · 2026-05-28 ")
    assert text.endswith("\n\nYou said: Красные помидоры!\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_exists_is_replaced_only_where_the_person_says_so(terminal: TerminalDriver, tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").write_text("precious")
    say(terminal, "one")
    terminal.say("/export old.jsonl")
    terminal.wait_for("old.jsonl exists. Replace it? [y/N]")
    terminal.type(ENTER)
    terminal.wait_for("Kept.\n>")
    assert (tmp_path / "old.jsonl").read_text() == "precious"
    terminal.say("/export old.jsonl")
    terminal.wait_for("[y/N]", times=2)
    terminal.say("y")
    terminal.wait_for("2 messages in old.jsonl\n>")
    records = [json.loads(line) for line in (tmp_path / "old.jsonl").read_text().splitlines()]
    assert records[0]["conversation"]["title"] == "one"
    assert [record["message"]["content"] for record in records[1:]] == ["one", "You said: one"]
    assert "name" not in records[1]["message"]


def test_everything_is_exported_and_what_cannot_be_written_is_told(terminal: TerminalDriver, tmp_path: Path) -> None:
    say(terminal, "one")
    terminal.say("/new")
    terminal.wait_for("A new conversation.\n>")
    say(terminal, "two")
    terminal.say("/export all every.md")
    terminal.wait_for("4 messages in every.md\n>")
    assert (tmp_path / "every.md").read_text().count("\n# two\n") == 1
    terminal.say("/export all every.txt")
    terminal.wait_for("FILE ends in .md (to read) or .jsonl (to import again).")
    terminal.say("/export nowhere/x.md")
    terminal.wait_for("nowhere/x.md cannot be written (No such file or directory).\n>")


def test_an_export_that_breaks_off_leaves_no_file_and_an_old_one_as_it_was(
    terminal: TerminalDriver, tmp_path: Path, running: RunningChat, failure: Callable[..., object]
) -> None:
    (tmp_path / "old.md").write_text("precious")
    say(terminal, "one")
    running.service.failures = [failure("INTERNAL", "INTERNAL", "A fault.")]
    terminal.say("/export new.md")
    terminal.wait_for("Error: A fault.\n>")
    terminal.say("/export old.md")
    terminal.wait_for("[y/N]")
    running.service.failures = [failure("INTERNAL", "INTERNAL", "A fault.")]
    terminal.say("y")
    terminal.wait_for("Error: A fault.\n>", times=2)
    assert {path.name for path in tmp_path.iterdir()} == {"old.md", "terminal-history"}
    assert (tmp_path / "old.md").read_text() == "precious"


def test_the_language_can_be_changed_while_talking(terminal: TerminalDriver) -> None:
    terminal.say("/language ru")
    terminal.wait_for("Терминал говорит по-русски.")
    terminal.say("/new")
    terminal.wait_for("Новая беседа.")
    terminal.say("/language de")
    terminal.wait_for("/language: нужно en или ru.")


def test_tab_completes_a_command(terminal: TerminalDriver) -> None:
    terminal.type("/reg" + TAB)
    terminal.wait_for("> /regenerate")
    terminal.type(CTRL_C)
    terminal.wait_for_prompt()
    terminal.type("/re" + TAB)
    terminal.wait_for("/recall")
    terminal.wait_for("      /regenerate")


def test_tab_finds_a_conversation_by_its_title_and_puts_its_number(terminal: TerminalDriver) -> None:
    for text in ("Красные помидоры", "Зелёные груши"):
        say(terminal, text)
        terminal.say("/new")
        terminal.wait_for_prompt()
    terminal.type("/open ")
    terminal.type(TAB)
    terminal.wait_for("2  Красные помидоры")
    terminal.type(CTRL_C)
    terminal.wait_for_prompt()
    terminal.type("/open помидор" + TAB)
    terminal.wait_for("> /open 2")
    terminal.type(ENTER)
    terminal.wait_for("“Красные помидоры”, 2 messages.")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("/set temp", "> /set temperature"),
        ("/set seed d", "> /set seed default"),
        ("/recall of", "> /recall off"),
        ("/language r", "> /language ru"),
        ("/export al", "> /export all"),
        ("/export not", "> /export notes.md"),
    ],
)
def test_tab_completes_what_a_command_takes(
    terminal: TerminalDriver, tmp_path: Path, typed: str, completed: str
) -> None:
    (tmp_path / "notes.md").touch()
    (tmp_path / "notes.txt").touch()
    terminal.type(typed + TAB)
    terminal.wait_for(completed)


def test_on_a_narrow_window_what_was_recalled_stays_on_its_line(
    open_terminal: Callable[..., TerminalDriver],
) -> None:
    terminal = open_terminal(columns=44, lines=60)
    terminal.wait_for_prompt()
    terminal.say("日本語のトマトはとても美味しいです🍅ですね")
    terminal.wait_for("ですね\n>")
    terminal.say("recall トマト")
    screen = terminal.wait_for("/open 1\n", times=2)
    recalled = [row for row in screen.split("\n") if row.startswith("↳")]
    assert len(recalled) == 2
    assert all("…  /open 1" in row for row in recalled)
    terminal.wait_for_prompt()


def test_a_window_that_is_made_narrower_goes_on_in_its_new_width(
    open_terminal: Callable[..., TerminalDriver],
) -> None:
    terminal = open_terminal(columns=100, lines=60)
    terminal.wait_for_prompt()
    terminal.say("slow")
    terminal.wait_for("word9")
    terminal.resize(40, 60)
    terminal.wait_for("word40")
    terminal.type(CTRL_C)
    terminal.wait_for("(stopped)\n>")
    say(terminal, "Привет 🍅")
    terminal.say("/stats")
    terminal.wait_for("prompt: 7 tokens, 4 of them cached (57%)")


@pytest.mark.parametrize("extra", [{"TERM": "dumb"}, {"TERM": ""}])
def test_commands_work_where_the_terminal_can_do_nothing(
    open_terminal: Callable[..., TerminalDriver], extra: dict[str, str]
) -> None:
    terminal = open_terminal(columns=60, lines=60, extra=extra)
    terminal.wait_for_prompt()
    for typed, answered in (
        ("ripe tomatoes", "You said: ripe tomatoes"),
        ("recall tomatoes", "you: ripe tomatoes  /open 1"),
        ("/stats", "prompt: 7 tokens, 4 of them cached (57%)"),
        ("/context Hi", "frame the parts"),
    ):
        terminal.say(typed)
        terminal.wait_for(answered)
    assert b"\x1b[" not in terminal.raw.partition(b"SmolLM2")[2]


def test_tab_in_a_message_completes_nothing(terminal: TerminalDriver, running: RunningChat) -> None:
    terminal.type("see " + TAB + "/op" + TAB + ENTER)
    terminal.wait_for("You said: see /op\n>")
