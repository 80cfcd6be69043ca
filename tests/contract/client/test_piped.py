"""The terminal program where standard input is no terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chatbot.v1 import chat_service_pb2 as pb
from tests.contract.client.scripted_chat import MARKDOWN, Failure, RunningChat
from tests.contract.client.terminal_driver import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def pipe(running: RunningChat, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the program on some input."""

    def run(text: bytes, *arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "client", "--address", running.address, *arguments],
            input=text,
            stdout=options.get("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment(tmp_path),
            timeout=30,
            check=False,
        )

    return run


def test_the_whole_input_is_one_message_and_the_reply_plain_text(
    pipe: Callable[..., subprocess.CompletedProcess[bytes]], running: RunningChat
) -> None:
    done = pipe("Привет,\n/help мир\n".encode(), "--user", "Аня")
    assert done.stdout.decode() == "You said: Привет,\n/help мир\n"
    assert done.returncode == 0
    [request] = [r for r in running.service.requests if isinstance(r, pb.ChatRequest)]
    assert request.conversation == ""
    assert list(running.service.users) == ["Аня"]
    assert "не рассчитана на русский язык" in done.stderr.decode()


def test_markdown_is_passed_on_as_it_is(pipe: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    done = pipe(b"markdown")
    assert done.stdout.decode() == MARKDOWN + "\n"
    assert done.stderr == b""


def test_the_reply_is_plain_text_also_where_the_output_is_a_terminal(
    pipe: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    master, slave = pty.openpty()
    try:
        done = pipe(b"markdown", stdout=slave)
        assert done.returncode == 0
        written = os.read(master, 65536).decode()
    finally:
        os.close(slave)
        os.close(master)
    assert written == MARKDOWN.replace("\n", "\r\n") + "\r\n"


@pytest.mark.parametrize("text", [b"", b" \n\t\n", b"\xff\xfe"])
def test_input_that_says_nothing_is_refused(
    pipe: Callable[..., subprocess.CompletedProcess[bytes]], running: RunningChat, text: bytes
) -> None:
    done = pipe(text)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode().startswith("Standard input ")
    assert done.stderr.count(b"\n") == 1
    assert running.service.requests == []


def test_an_error_goes_to_standard_error_in_one_line(
    pipe: Callable[..., subprocess.CompletedProcess[bytes]], running: RunningChat, failure: Callable[..., Failure]
) -> None:
    running.service.failures = [failure("UNAVAILABLE", "MODEL_LOADING", "The model is not loaded yet.")] * 4
    done = pipe(b"two")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == "Error: The model is not loaded yet.\n"
    assert pipe(b"two", "--address", "127.0.0.1:1").stderr.decode() == "No answer from 127.0.0.1:1.\n"


def test_a_reply_that_ended_early_says_so_and_a_lost_one_fails(
    pipe: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    limited = pipe(b"limit")
    assert limited.returncode == 0
    assert b"cut off" in limited.stderr
    lost = pipe(b"lost")
    assert (lost.returncode, lost.stdout) == (1, b"You said: lost\n")


def test_ctrl_c_stops_reply_and_program(running: RunningChat, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "client.terminal", "--address", running.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(tmp_path),
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"slow")
        process.stdin.close()
        assert process.stdout.read(5) == b"word0"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert running.service.cancelled.wait(10)


def test_a_reader_that_goes_away_is_no_traceback(running: RunningChat, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "client.terminal", "--address", running.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(tmp_path),
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"slow")
        process.stdin.close()
        assert process.stdout.read(5) == b"word0"
        process.stdout.close()
        assert process.wait(timeout=20) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_wrong_port_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "client.terminal"],
        input=b"Hi",
        capture_output=True,
        cwd=ROOT,
        env=environment(tmp_path, {"CHATBOT_GATEWAY_GRPC_PORT": "http"}),
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.decode() == "CHATBOT_GATEWAY_GRPC_PORT=http: must be a port from 1 to 65535.\n"
