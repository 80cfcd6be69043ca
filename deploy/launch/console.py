"""What the person at the terminal sees while things are set up and started: on standard error, briefly."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

_PLAIN_INTERVAL_SECONDS = 10.0
"""Where the stream is no terminal: least time between two lines of progress."""


class Failure(Exception):
    """It cannot go on. The message is for the person: what is wrong and what would be right.

    Args:
        message: One sentence, or one followed by the lines that explain it.
        exit_code: 2 where something must be set right first, 1 for anything else.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Console:
    """Lines that stay, and one line of progress that overwrites itself where the stream is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = ""
        self._last_plain = time.monotonic()

    def say(self, text: str) -> None:
        """Writes a line that stays."""
        self.clear()
        self._write(f"{text}\n")

    def progress(self, text: str) -> None:
        """Shows how far things are: at once on a terminal, else as a plain line every ten seconds."""
        if self._is_terminal:
            width = max(20, shutil.get_terminal_size().columns - 1)
            line = text if len(text) <= width else f"{text[: width - 1]}…"
            if line != self._shown:
                self._write(f"\r{line.ljust(len(self._shown))}")
                self._shown = line
        elif time.monotonic() - self._last_plain >= _PLAIN_INTERVAL_SECONDS:
            self._last_plain = time.monotonic()
            self._write(f"{text}\n")

    def clear(self) -> None:
        """Takes the line of progress away."""
        if self._shown:
            self._write(f"\r{' ' * len(self._shown)}\r")
            self._shown = ""

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()
