"""A scripted chat behind a real gRPC server, and a person at a terminal in front of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.contract.client import scripted_chat
from tests.contract.client.terminal_driver import TerminalDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def running() -> Iterator[scripted_chat.RunningChat]:
    chat = scripted_chat.start()
    yield chat
    chat.server.stop(grace=0).wait()


@pytest.fixture
def open_terminal(running: scripted_chat.RunningChat, tmp_path: Path) -> Iterator[Callable[..., TerminalDriver]]:
    with ExitStack() as stack:

        def open_one(*arguments: str, **options: Any) -> TerminalDriver:
            return stack.enter_context(TerminalDriver(["--address", running.address, *arguments], tmp_path, **options))

        yield open_one


@pytest.fixture
def failure() -> Callable[..., scripted_chat.Failure]:
    """Makes an error to answer with, its status by name."""

    def make(code: str, *arguments: Any, **options: Any) -> scripted_chat.Failure:
        return scripted_chat.Failure(grpc.StatusCode[code], *arguments, **options)

    return make
