"""The services live exactly as long as the command that started them, however either ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's process descriptors")

STAND_IN = Path(__file__).parents[2] / "support" / "stand_in_run.py"
PATIENCE_SECONDS = 30


class Run:
    """One supervised run of stand-ins."""

    def __init__(self, folder: Path, mode: str, **kinds: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_IN), str(folder), mode, *(f"{n}={k}" for n, k in kinds.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.children: dict[str, int] = {}

    def wait_until_open(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "open\n"
        # A descriptor stays with its process, also when the number is given to another.
        self.children = {f.stem: os.pidfd_open(self.pid(f.stem)) for f in self.folder.glob("*.pid")}

    def pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def ended(self) -> tuple[int, str, str]:
        # Standard input stays open: its end would end what runs in front.
        self.process.wait(timeout=PATIENCE_SECONDS)
        out, err = self.process.communicate()
        return self.process.returncode, out, err

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def all_gone(self) -> bool:
        return all(select.select([fd], [], [], PATIENCE_SECONDS)[0] for fd in self.children.values())


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for run in started:
        run.process.kill()
        run.process.communicate()
        for fd in run.children.values():
            os.close(fd)


def start(runs: list[Run], folder: Path, mode: str, **kinds: str) -> Run:
    runs.append(Run(folder, mode, **kinds))
    return runs[-1]


def test_the_exit_status_of_what_runs_in_front_is_passed_on_and_all_services_stop(runs, tmp_path):
    run = start(runs, tmp_path, "chat", gateway="steady", memory="steady")
    run.wait_until_open()
    run.type("hello")
    code, out, err = run.ended()
    assert (code, out, err) == (7, "said hello\n", "")
    assert run.all_gone()


def test_a_service_that_refuses_to_start_is_told_in_its_own_sentence(runs, tmp_path):
    code, out, err = start(runs, tmp_path, "chat", gateway="steady", memory="refuses").ended()
    assert (code, out, err) == (2, "", "error: The port 1 is taken; set PORT to a free one.\n")


def test_a_service_that_crashes_is_told_with_the_last_lines_of_its_log(runs, tmp_path):
    code, _, err = start(runs, tmp_path, "chat", gateway="steady", memory="crashes").ended()
    assert code == 1
    assert "The memory service was ended with exit status 1" in err
    assert str(tmp_path / "memory.log") in err
    assert [line.strip() for line in err.splitlines()[1:]] == [f"line {n}" for n in range(20, 30)]
    assert "Traceback" not in err


@pytest.mark.parametrize("mode", ["chat", "serve"])
def test_a_service_that_dies_later_takes_everything_down(runs, tmp_path, mode):
    run = start(runs, tmp_path, mode, gateway="steady", memory="steady")
    run.wait_until_open()
    os.kill(run.pid("memory"), signal.SIGKILL)
    code, _, err = run.ended()
    assert code == 1
    assert "The memory service was ended by signal SIGKILL" in err
    assert run.all_gone()


def test_ctrl_c_in_the_chat_is_the_chats_own_business(runs, tmp_path):
    run = start(runs, tmp_path, "chat", gateway="steady", memory="steady")
    run.wait_until_open()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.stdout.readline() == "interrupted\n"
    run.type("still here")
    code, out, err = run.ended()
    assert (code, out, err) == (7, "said still here\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_without_chat_and_its_services(runs, tmp_path, number):
    run = start(runs, tmp_path, "serve", gateway="steady", memory="steady")
    run.wait_until_open()
    os.killpg(run.process.pid, number)
    code, _, err = run.ended()
    assert (code, err) == (128 + number, "Stopped.\n")
    assert run.all_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_launcher_alone_ends_the_chat_too(runs, tmp_path, number):
    run = start(runs, tmp_path, "chat", gateway="steady", memory="steady")
    run.wait_until_open()
    os.kill(run.process.pid, number)
    code, _, err = run.ended()
    assert (code, err) == (128 + number, "Stopped.\n")
    assert set(run.children) == {"gateway", "memory", "front"}
    assert run.all_gone()


@pytest.mark.parametrize("mode", ["chat", "serve"])
def test_nothing_outlives_a_launcher_that_is_killed(runs, tmp_path, mode):
    run = start(runs, tmp_path, mode, gateway="steady", memory="steady")
    run.wait_until_open()
    run.process.kill()
    assert run.all_gone()


def test_a_service_that_does_not_stop_in_time_is_killed(runs, tmp_path):
    run = start(runs, tmp_path, "serve", gateway="steady", memory="stubborn")
    run.wait_until_open()
    run.process.send_signal(signal.SIGTERM)
    code, _, _ = run.ended()
    assert code == 128 + signal.SIGTERM
    assert run.all_gone()


def test_a_second_signal_ends_the_wait_for_a_service_that_does_not_stop(runs, tmp_path):
    run = start(runs, tmp_path, "chat", gateway="stubborn")
    run.wait_until_open()
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGINT)
    code, _, err = run.ended()
    assert code in {128 + signal.SIGTERM, 128 + signal.SIGINT}
    assert "Traceback" not in err
    assert run.all_gone()
