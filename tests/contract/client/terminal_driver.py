"""Drives the real terminal program in a pseudo-terminal, and reads its screen as a person would."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

ROOT = __file__.rsplit("/tests/", 1)[0]

# Takes the pseudo-terminal as the controlling one, so that Ctrl-C is a signal, and becomes the program.
_LAUNCHER = "import fcntl,os,sys,termios; fcntl.ioctl(0,termios.TIOCSCTTY,0); os.execv(sys.executable,sys.argv[1:])"

_PATIENCE_SECONDS = 20

CTRL_C = "\x03"
CTRL_D = "\x04"
UP = "\x1b[A"
ENTER = "\r"
TAB = "\t"


def environment(data_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns what the program is started with."""
    # Its terminal is not the one that the tests run at, whose size some shells hand on.
    others = ("CHATBOT_", "LC_", "LANG", "COLUMNS", "LINES")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    own = {
        "PYTHONPATH": f"{ROOT}:{ROOT}/gen",
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "CHATBOT_DATA_DIR": str(data_dir),
    }
    return {**kept, **own, **(extra or {})}


class TerminalDriver:
    """A person at a terminal."""

    def __init__(
        self,
        arguments: list[str],
        data_dir: Path,
        *,
        columns: int = 80,
        lines: int = 24,
        extra: Mapping[str, str] | None = None,
        folder: Path | str = ROOT,
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        program = [sys.executable, "-m", "client.terminal", *arguments]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, *program],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=environment(data_dir, extra),
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._master)

    def resize(self, columns: int, lines: int) -> None:
        """Makes the window another size."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def text(self) -> str:
        """Returns everything on the screen and scrolled out of it, without trailing spaces."""
        rows = ["".join(row[x].data for x in range(self.screen.columns)) for row in self.screen.history.top]
        return "\n".join(row.rstrip() for row in [*rows, *self.screen.display]).rstrip()

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._master, keys.encode())

    def say(self, line: str) -> None:
        """Types a line and ends it."""
        self.type(line + ENTER)

    def wait_for(self, text: str, times: int = 1) -> str:
        """Waits until a text stands on the screen so many times; returns the screen."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.text().count(text) < times:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} did not appear {times} times. The screen:\n{self.text()}")
        return self.text()

    def wait_for_prompt(self) -> str:
        """Waits until the last row is an empty prompt; returns the screen."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.text().rsplit("\n", 1)[-1] != ">":
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"No prompt appeared. The screen:\n{self.text()}")
        return self.text()

    def wait_for_exit(self) -> int:
        """Waits until the program has ended; returns its status."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(timeout=_PATIENCE_SECONDS)

    def _read(self, seconds: float) -> bool:
        """Takes in what the program writes within so many seconds; False where there is nothing more."""
        if seconds <= 0 or not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: the other side is closed
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)
