"""The terminal's output: notes, errors, markdown, and replies as they arrive."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from client.terminal.markdown_stream import MarkdownStream
from client.terminal.text import printable

if TYPE_CHECKING:
    from client.reply import Reply

_SECONDS_A_FRAME = 1 / 30
_REST = 4
"""How many times as long as a frame took to paint the next one waits: the model may need the same processor."""


class Screen:
    """Standard output, for a person.

    Args:
        plain: Text only. So it is anyway where the output is no terminal, or a dumb one.
    """

    def __init__(self, *, plain: bool = False) -> None:
        dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        self.plain = plain or dumb or not sys.stdout.isatty()
        self._console = (
            Console(color_system=None, force_terminal=False, highlight=False, soft_wrap=True)
            if self.plain
            else Console(highlight=False, legacy_windows=False)
        )

    @property
    def columns(self) -> int:
        """How wide it is now."""
        return self._console.width

    def say(self, text: str, *, indent: int = 0) -> None:
        """Prints a text, so many columns from the left."""
        self._print(text, "", indent)

    def note(self, text: str) -> None:
        """Prints a line that matters less."""
        self._print(text, "dim")

    def error(self, text: str) -> None:
        """Prints a line about what went wrong."""
        self._print(text, "red")

    def markdown(self, text: str) -> None:
        """Prints a whole text of markdown."""
        if self.plain:
            self.say(text)
            return
        stream = MarkdownStream(self._console)
        stream.update(text)
        stream.finish()

    async def reply(self, reply: Reply, *, shown: str = "") -> None:
        """Prints a reply as it arrives, and ends its last line, also where the reply fails.

        Args:
            reply: What is printed.
            shown: What already stands there of an earlier call for this reply: not printed again where nothing else
                is replayed.

        Raises:
            ChatbotError: As the reply does.
        """
        painter = _PlainPainter() if self.plain else _MarkdownPainter(MarkdownStream(self._console))
        try:
            async for text in reply:
                if not (shown and reply.text == shown and reply.started is not None and reply.started.replayed):
                    painter.add(text)
        finally:
            painter.finish()

    def _print(self, text: str, style: str, indent: int = 0) -> None:
        line = Text(printable(text), style=style)
        self._console.print(Padding.indent(line, indent) if indent else line)


class _PlainPainter:
    """Writes a reply as it comes."""

    def __init__(self) -> None:
        self._at_line_start = True

    def add(self, text: str) -> None:
        text = printable(text)
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._at_line_start = text.endswith("\n")

    def finish(self) -> None:
        if not self._at_line_start:
            sys.stdout.write("\n")
            sys.stdout.flush()


class _MarkdownPainter:
    """Paints a reply at most thirty times a second and a fifth of the time, however fast it comes."""

    def __init__(self, stream: MarkdownStream) -> None:
        self._stream = stream
        self._pending = ""
        self._next_frame: asyncio.TimerHandle | None = None

    def add(self, text: str) -> None:
        self._pending += text
        if self._next_frame is None:
            began = time.perf_counter()
            self._paint()
            rest = max(_SECONDS_A_FRAME, _REST * (time.perf_counter() - began))
            self._next_frame = asyncio.get_running_loop().call_later(rest, self._frame)

    def finish(self) -> None:
        if self._next_frame is not None:
            self._next_frame.cancel()
        self._paint()
        self._stream.finish()

    def _frame(self) -> None:
        self._next_frame = None
        if self._pending:
            self.add("")

    def _paint(self) -> None:
        pending, self._pending = self._pending, ""
        if pending:
            self._stream.update(pending)
