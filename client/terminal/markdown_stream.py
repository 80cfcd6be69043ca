"""Markdown on a terminal, rendered while it arrives, each row written for good as soon as it is final.

The usual way, Rich's `Live` over the whole text, repaints everything a reply has so far, and leaves doubled rows
behind once it is taller than the terminal (Textualize/rich#3263). Here a finished unit (see `markdown_blocks`) is
printed once and never touched again. Only the unit that is still growing is live, and never taller than the
terminal: of code, what has scrolled out of the live rows is settled row by row, since later code does not change
earlier rows; of anything else the last rows are shown until the unit ends, then all of it.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from rich.text import Text

from client.terminal.markdown_blocks import parse, render, render_code
from client.terminal.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from client.terminal.markdown_blocks import Unit

_NO_AUTO_WRAP = "\x1b[?7l"
_AUTO_WRAP = "\x1b[?7h"
_ERASE_BELOW = "\x1b[J"


class MarkdownStream:
    """One document that is printed while it arrives. The cursor must stand at the start of an empty row.

    While it is under way rows do not wrap at the terminal's edge: a character that the terminal draws wider than
    Rich measures it would otherwise move every row below.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._source = ""  # from the first block on that is not settled
        self._settled_units = 0  # of that block, where it is a list
        self._settled_lines = 0  # of the first unit that is not settled, where it is code
        self._after_unit = False  # whether a unit was settled before
        self._live: list[str] = []
        self._live_width = console.width
        self._begun = False
        self.settled_rows = 0
        """Rows written for good so far."""

    def update(self, text: str) -> None:
        """Takes in more of the document and paints it."""
        self._source += printable(text)
        settled = self._settle_closed_units() if "\n" in text else []
        self._paint(settled, finished=False)

    def finish(self) -> None:
        """Prints what is left; the cursor then stands at the start of an empty row. Nothing may follow."""
        settled: list[str] = []
        for unit in parse(self._source)[self._settled_units :]:
            settled += self._settle(unit)
        self._paint(settled, finished=True)

    def _settle_closed_units(self) -> list[str]:
        # Of whole lines only: what the last line will be, its end tells.
        end = self._source.rfind("\n") + 1
        units = parse(self._source[:end])
        if not units:
            return []
        last = units[-1]
        last_is_final = last.ends_at_blank_line and self._source.endswith("\n\n", 0, end)
        rows: list[str] = []
        for unit in units[self._settled_units : None if last_is_final else -1]:
            rows += self._settle(unit)
        if last_is_final:
            self._source, self._settled_units = self._source[end:], 0
        else:
            self._source = "\n".join(self._source.split("\n")[last.first_line :])
            self._settled_units = last.item or 0
        return rows

    def _settle(self, unit: Unit) -> list[str]:
        """Returns what is still to be written of a unit, and counts it as settled."""
        rows = [row for rows in self._code_rows(unit) for row in rows] if unit.is_code else self._spaced(unit)
        self._after_unit = self._after_unit or bool(rows) or self._settled_lines > 0
        self._settled_lines = 0
        return rows

    def _spaced(self, unit: Unit, *, after_row: bool = False) -> list[str]:
        """Returns a unit's rows, after an empty one where one belongs."""
        rows = render(unit, self._console)
        return ["", *rows] if rows and (self._after_unit or after_row) and not unit.item else rows

    def _code_rows(self, unit: Unit) -> list[list[str]]:
        """Returns the rows of each line of code that is not settled, as `_spaced` does."""
        rows = render_code(unit, self._console, self._settled_lines)
        if rows and self._after_unit and not self._settled_lines:
            rows[0].insert(0, "")
        return rows

    def _live_rows(self) -> tuple[list[str], list[str]]:
        """Returns the rows that outgrew the live region for good, and the live ones."""
        room = max(1, self._console.height - 1)
        units = parse(self._source)[self._settled_units :]
        if not units:
            return [], []
        outgrown: list[str] = []
        if units[0].is_code:
            lines = self._code_rows(units[0])
            height = sum(map(len, lines))
            while height > room and len(lines) > 1:
                height -= len(lines[0])
                outgrown += lines.pop(0)
                self._settled_lines += 1
            rows = [row for line in lines for row in line]
        else:
            rows = self._spaced(units[0])
        # A last line without its end may look like a block of its own for a moment.
        for unit in units[1:]:
            rows += self._spaced(unit, after_row=bool(rows))
        return outgrown, rows[-room:]

    def _paint(self, settled: list[str], *, finished: bool) -> None:
        outgrown, live = ([], []) if finished else self._live_rows()
        settled = settled + outgrown
        frame = settled + live
        old = self._live
        narrowed = self._console.width < self._live_width
        same = 0 if narrowed else _common_length(old, frame)
        if live and same < len(old):
            # The cursor has to end behind the last live row, so that one is written.
            same = min(same, len(frame) - 1)
        changed = old[same:]
        parts: list[str] = []
        if not self._begun:
            self._begun = True
            parts.append(_NO_AUTO_WRAP)
        if changed:
            height = sum(self._height(row) for row in changed) if narrowed else len(changed)
            parts.append("\r" + (f"\x1b[{height - 1}A" if height > 1 else "") + _ERASE_BELOW)
        elif old and (len(frame) > same or not live):
            parts.append("\n")
        parts.append("\n".join(frame[same:]))
        if frame[same:] and not live:
            parts.append("\n")
        if finished:
            parts.append(_AUTO_WRAP)
        self._live, self._live_width = live, self._console.width
        self.settled_rows += len(settled)
        out = "".join(parts)
        if out:
            self._console.file.write(out)
            self._console.file.flush()

    def _height(self, row: str) -> int:
        """Rows that a row takes after the terminal became narrower and wrapped it."""
        return max(1, -(-Text.from_ansi(row).cell_len // self._console.width))


def _common_length(old: list[str], new: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
