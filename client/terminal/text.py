"""Text that is safe to send to a terminal."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

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
    if cell_len(line) <= columns:
        return line
    return set_cell_size(line, max(columns - 1, 0)).rstrip() + "…"
