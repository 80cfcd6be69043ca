"""Progress: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from services.memory.command import progress
from services.memory.command.progress import Steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_shows_how_many_of_how_many(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Steps("Embedding messages", 40) as steps:
        steps.advance(30)
    shown = sys.stderr.getvalue()
    assert "Embedding messages" in shown
    assert "30/40" in shown


@pytest.mark.parametrize(
    ("total", "said"), [(40, "Embedding messages: 30 of 40, "), (None, "Embedding messages: 30, ")]
)
def test_elsewhere_a_plain_line_does(monkeypatch, capsys, total, said):
    monkeypatch.setattr(progress, "_PLAIN_INTERVAL_SECONDS", 0.0)
    with Steps("Embedding messages", total) as steps:
        steps.advance(30)
    line = capsys.readouterr().err
    assert line.startswith(said)
    assert line.endswith(" a second\n")
    assert "\x1b" not in line


def test_what_is_done_soon_says_nothing(capsys):
    with Steps("Embedding messages", 3) as steps:
        steps.advance(3)
    assert capsys.readouterr().err == ""
