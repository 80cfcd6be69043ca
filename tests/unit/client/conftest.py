"""A terminal in memory that remembers when each of its rows was last written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyte
import pytest
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable


class RecordingScreen(pyte.HistoryScreen):
    """A screen whose rows are numbered from the first ever written, scrolled-out ones included."""

    def __init__(self, columns: int, lines: int) -> None:
        self.touched: set[int] = set()
        super().__init__(columns, lines, history=10_000, ratio=0.5)
        # Line feeds come without carriage returns: the terminal driver adds them.
        self.set_mode(pyte.modes.LNM)

    @property
    def top(self) -> int:
        return len(self.history.top)

    def draw(self, data: str) -> None:
        self.touched.add(self.top + self.cursor.y)
        super().draw(data)

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        self.touched.update(range(self.top + self.cursor.y, self.top + self.lines))
        super().erase_in_display(how, *args, **kwargs)

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        self.touched.add(self.top + self.cursor.y)
        super().erase_in_line(how, private)

    def rows(self) -> list[str]:
        """Every row ever written, without trailing spaces."""
        scrolled = ["".join(row[x].data for x in range(self.columns)).rstrip() for row in self.history.top]
        rows = scrolled + [row.rstrip() for row in self.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows


class MemoryTerminal:
    """A screen, and a Rich console that writes to it."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.screen = RecordingScreen(columns, lines)
        self._stream = pyte.Stream(self.screen)
        self.console = Console(
            file=self,  # all that is needed of a file is below
            force_terminal=True,
            color_system="truecolor",
            width=columns,
            height=lines,
            legacy_windows=False,
            _environ={},
        )

    def write(self, text: str) -> int:
        self._stream.feed(text)
        return len(text)

    def flush(self) -> None:
        pass


@pytest.fixture(scope="session")
def new_terminal() -> Callable[..., MemoryTerminal]:
    return MemoryTerminal
