"""Markdown, cut into the units in which a stream of it settles, and those as rows of terminal text.

A unit is a top-level block, or one item of a top-level list. CommonMark is parsed line by line and a closed block
is never opened again (https://spec.commonmark.org/0.31.2/#phase-1-block-structure), so of the units that whole
lines give, all but the last are final, and after an empty line often the last one, too.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.syntax import Syntax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token
    from rich.console import JustifyMethod, RenderableType

# HTML stays text: a chat shows `<b>` where the model wrote it.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])

_HIGHLIGHT_CONTEXT_LINES = 60

_TRAILING_SPACES = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a document that is printed at once."""

    tokens: Sequence[Token]
    first_line: int
    """Line of the source, from 0, where its top-level block begins."""
    item: int | None
    """Its place in its list, from 0; None where it is no list item."""
    is_code: bool
    ends_at_blank_line: bool
    """Whether an empty line after it makes it final; a list may go on after one, and so may code."""


def parse(source: str) -> list[Unit]:
    """Returns the units of a document, in order."""
    tokens = _PARSER.parse(source)
    for token in tokens:
        for child in token.children or ():
            # Models end a line where they mean it to end.
            if child.type == "softbreak":
                child.type = "hardbreak"
    units: list[Unit] = []
    start = 0
    for end, token in enumerate(tokens, 1):
        if token.level == 0 and token.nesting <= 0:
            units.extend(_units_of_block(tokens[start:end]))
            start = end
    return units


def _units_of_block(block: list[Token]) -> list[Unit]:
    opening = block[0]
    first_line = opening.map[0] if opening.map else 0
    if opening.type not in ("bullet_list_open", "ordered_list_open"):
        is_code = opening.type in ("fence", "code_block")
        return [Unit(block, first_line, None, is_code, ends_at_blank_line=not is_code)]
    units: list[Unit] = []
    start = 1
    for end, token in enumerate(block, 1):
        if token.type == "list_item_close" and token.level == 1:
            number = int(opening.attrs.get("start", 1)) + len(units)
            head = opening.copy(attrs={**opening.attrs, "start": number})
            item = [head, *block[start:end], block[-1]]
            units.append(Unit(item, first_line, len(units), is_code=False, ends_at_blank_line=False))
            start = end
    return units


def render(unit: Unit, console: Console) -> list[str]:
    """Returns a unit as rows of text with escape sequences, none wider than the console."""
    if unit.is_code:
        return [row for rows in render_code(unit, console) for row in rows]
    rows = _rows(_Document(unit.tokens), _page(console))
    while rows and not rows[-1]:
        rows.pop()
    while rows and not rows[0]:
        rows.pop(0)
    return rows


def render_code(unit: Unit, console: Console, first_line: int = 0) -> list[list[str]]:
    """Returns the rows of each line of a unit of code, from a line on.

    Without frame or margin, in the terminal's own colours, so that it can be copied as it is.
    """
    [token] = unit.tokens
    # Only so far back does the highlighting look for what a line stands in, a long string for example: the cost of
    # a frame then does not grow with the code.
    start = max(0, first_line - _HIGHLIGHT_CONTEXT_LINES)
    code = "\n".join(token.content.rstrip().split("\n")[start:])
    if not code:
        return []
    language = token.info.partition(" ")[0] or "text"
    syntax = Syntax(code, language, theme="ansi_dark", background_color="default")
    lines = syntax.highlight(code).split("\n", allow_blank=True)[: code.count("\n") + 1]
    page = _page(console)
    return [_rows(line, page) for line in lines[first_line - start :]]


def _page(console: Console) -> Console:
    """Returns a console whose output can be captured, otherwise like the given one."""
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system=console.color_system,  # type: ignore[arg-type]  # its own property, typed wider than its argument
        no_color=console.no_color,
        width=console.width,
        legacy_windows=False,
        highlight=False,
    )


def _rows(renderable: RenderableType, page: Console) -> list[str]:
    with page.capture() as captured:
        page.print(renderable)
    return [_TRAILING_SPACES.sub(r"\1", row) for row in captured.get().removesuffix("\n").split("\n")]


class _Heading(Heading):
    """A heading at the left, as chat text reads."""

    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}


class _Document(Markdown):
    """Rich's rendering of tokens that are parsed already."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
    }

    def __init__(self, tokens: Sequence[Token]) -> None:
        # A link is shown with its address: not every terminal can open one that hides it.
        super().__init__("", hyperlinks=False)
        self.parsed = list(tokens)
