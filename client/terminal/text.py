"""Text that is safe to send to a terminal."""

from __future__ import annotations

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Returns the text without control characters, but for line ends and tabs.

    What a model wrote, or a person somewhere else, must not move the cursor, recolour or rename the window.
    """
    return text.translate(_CONTROLS)
