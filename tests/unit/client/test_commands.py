"""The commands are the same wherever they are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.terminal.commands import Commands
from client.terminal.completion import TAKEN
from client.terminal.messages import LANGUAGES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "clients" / "terminal.md"
COMMAND = re.compile(r"(?m)^/([a-z]+)")


class AnySession:
    """Enough of a session to make the commands of."""

    screen = None


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_names_every_command_that_tab_completes(language: str) -> None:
    assert {f"/{name}" for name in COMMAND.findall(LANGUAGES[language]("help"))} | {"/exit"} == set(TAKEN)


def test_every_command_that_is_carried_out_is_completed() -> None:
    assert {*Commands(AnySession())._actions, "/quit", "/exit"} == set(TAKEN)


def test_the_page_describes_every_command() -> None:
    described = set(re.findall(r"`(/[a-z]+)", PAGE.read_text(encoding="utf-8")))
    assert described | {"/exit"} == set(TAKEN)
