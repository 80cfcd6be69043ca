"""The terminal waits at its prompt while the gateway's process is stopped and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.client.terminal_driver import TerminalDriver
from tests.e2e.stack import Stack


@pytest.mark.parametrize(
    ("locale", "gone", "again"),
    [
        ("en_US.UTF-8", "The connection to {address} is lost. Trying again.", "Connected again."),
        ("ru_RU.UTF-8", "Связь с {address} прервалась. Пробуем снова.", "Связь восстановлена."),
    ],
)
def test_a_lost_connection_is_told_at_the_prompt_and_what_is_typed_stays(
    stack: Stack, tmp_path: Path, locale: str, gone: str, again: str
):
    address = f"127.0.0.1:{stack.ports['gateway']}"
    arguments = ["--address", address, "--user", locale]
    with TerminalDriver(arguments, tmp_path, columns=100, extra={"LC_ALL": locale}) as terminal:
        terminal.wait_for_prompt()
        terminal.type("/sh")
        terminal.wait_for("> /sh")
        stack.stop("gateway")
        try:
            told = gone.format(address=address)
            terminal.wait_for(f"{told}\n> /sh")
        finally:
            stack.start("gateway")
        screen = terminal.wait_for(f"{again}\n> /sh")
        assert screen.count(told) == screen.count(again) == 1
        terminal.say("ow")
        terminal.wait_for("SmolLM2-135M-Instruct", times=2)
        terminal.wait_for_prompt()
