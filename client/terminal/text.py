"""Text that is safe to send to a terminal."""

from __future__ import annotations

from wcwidth import iter_graphemes, wcswidth

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Returns the text without control characters, but for line ends and tabs.

    What a model wrote, or a person somewhere else, must not move the cursor, recolour or rename the window.
    """
    return text.translate(_CONTROLS)


def shortened(text: str, columns: int) -> str:
    """Returns the text on one line, cut off with … where it takes more than so many columns of a terminal.

    A character takes as many columns as terminals give it: two for 日 and 🍅, none for a combining accent; what is
    one to the eye, as a family of emoji, is never cut in two.
    """
    line = " ".join(printable(text).split())
    if _width(line) <= columns:
        return line
    kept, room = "", columns - 1
    for seen_as_one in iter_graphemes(line):
        room -= _width(seen_as_one)
        if room < 0:
            break
        kept += seen_as_one
    return kept.rstrip() + "…"


def _width(text: str) -> int:
    # -1 stands for a character that nobody can place; it takes a column at most.
    width = wcswidth(text)
    return width if width >= 0 else len(text)
