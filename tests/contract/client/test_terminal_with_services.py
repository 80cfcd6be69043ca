"""The terminal in front of the real services, whose models are scripted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.inference.engine.fake import FakeEngine
from tests.contract.client.house_in_thread import running_house
from tests.contract.client.terminal_driver import CTRL_C, ROOT, TerminalDriver, environment


def replies(prompt: str) -> list[str]:
    said_now = prompt.rpartition("<user>")[2]
    return ["Word", *(f" {n}" for n in range(1000))] if "go on for ever" in said_now else ["Noted", " it", "."]


def test_a_conversation_with_recall_the_prompt_and_an_export(tmp_path: Path) -> None:
    with (
        running_house(tmp_path / "services", FakeEngine(replies)) as address,
        TerminalDriver(["--address", address], tmp_path, columns=100, lines=80, folder=tmp_path) as terminal,
    ):
        terminal.wait_for_prompt()
        terminal.say("I grow purple tomatoes 🍅 on my balcony")
        terminal.wait_for("Noted it.\n>")
        terminal.say("/new")
        terminal.wait_for("A new conversation.\n>")
        terminal.say("/context purple tomatoes?")
        screen = terminal.wait_for("frame the parts\n>")
        assert "recalled · " in screen
        assert "this message · 3 tokens\n    purple tomatoes?\nprompt: " in screen
        terminal.say("purple tomatoes?")
        terminal.wait_for("you: I grow purple tomatoes")
        terminal.wait_for("/open 2\n")
        terminal.wait_for_prompt()
        terminal.say("/export all every.jsonl")
        terminal.wait_for("4 messages in every.jsonl\n>")
    lines = (tmp_path / "every.jsonl").read_text(encoding="utf-8").splitlines()
    said = [json.loads(line)["message"]["content"] for line in lines if line.startswith('{"message"')]
    assert said == ["I grow purple tomatoes 🍅 on my balcony", "Noted it.", "purple tomatoes?", "Noted it."]


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_reply_that_a_script_was_stopped_in_can_be_gone_on_from(tmp_path: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "client", "ask", "--address"]
    with running_house(tmp_path / "services", FakeEngine(replies, pause_after=3)) as address:
        with subprocess.Popen(
            [*command, address, "go on for ever", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(tmp_path),
        ) as process:
            assert process.stdout is not None
            written = b""
            while b"Word 0 1" not in written and written.count(b'"delta"') < 3:
                written += process.stdout.read(1)
            process.send_signal(2)
            process.stdout.read()
            assert process.wait(timeout=20) == 130
        with TerminalDriver(["--address", address], tmp_path) as terminal:
            terminal.wait_for("Going on with “go on for ever”")
            terminal.wait_for_prompt()
            terminal.say("thank you")
            terminal.wait_for("Noted it.\n>")
            terminal.say("go on for ever")
            terminal.wait_for("Word 0 1")
            terminal.type(CTRL_C)
            terminal.wait_for("(stopped)\n>")
