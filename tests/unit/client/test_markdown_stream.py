"""Markdown on a terminal while it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.terminal.markdown_stream import MarkdownStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

REPLY = """\
# Помидоры на балконе

Вот **три совета**, как вырастить *томаты* дома 🍅, и немного кода, который
считает поливы. 日本語の文字も幅が正しい。

1. Берите ёмкость не меньше 10 литров и делайте в ней дренаж, иначе корни загниют после первого же дождя.
2. Поливайте утром.
3. Подвязывайте.

- один
- два
  - вложенный
- три

> Цитата с **жирным**.

| сорт | срок |
|------|-----:|
| Черри 🍒 | 90 |
| Бычье сердце | 120 |

```python
def water(days: int) -> list[int]:
    return [day for day in range(days) if day % 2]
```

Готово.
"""


def pieces(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def stream(terminal: Any, parts: Iterable[str]) -> MarkdownStream:
    markdown = MarkdownStream(terminal.console)
    for part in parts:
        terminal.screen.touched.clear()
        settled = markdown.settled_rows
        markdown.update(part)
        assert all(row >= settled for row in terminal.screen.touched), "a settled row was written again"
    terminal.screen.touched.clear()
    settled = markdown.settled_rows
    markdown.finish()
    assert all(row >= settled for row in terminal.screen.touched), "a settled row was written again"
    return markdown


@pytest.mark.parametrize("size", [1, 3, 17, 10_000])
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 24), (40, 6), (23, 3)])
def test_a_reply_in_pieces_looks_like_the_reply_at_once_and_settled_rows_stay(
    new_terminal: Callable[..., Any], size: int, columns: int, lines: int
) -> None:
    whole, streamed = new_terminal(columns, lines), new_terminal(columns, lines)
    stream(whole, [REPLY])
    stream(streamed, pieces(REPLY, size))
    assert streamed.screen.rows() == whole.screen.rows()


def test_the_final_screen_shows_rendered_markdown_with_wide_characters(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal(60, 40)
    stream(terminal, pieces(REPLY, 5))
    rows = terminal.screen.rows()
    assert rows[0] == "Помидоры на балконе"
    assert rows[1] == ""
    text = "\n".join(rows)
    assert "**" not in text
    assert "Вот три совета, как вырастить томаты дома 🍅" in text.replace("🍅 ", "🍅")
    assert " 1 Берите ёмкость" in text
    assert " • один\n • два\n    • вложенный\n • три" in text
    assert "▌ Цитата с жирным." in text
    assert "def water(days: int) -> list[int]:" in rows
    assert rows[-1] == "Готово."


def test_finished_blocks_are_settled_while_the_last_one_grows(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal()
    markdown = MarkdownStream(terminal.console)
    markdown.update("One.\n\nTwo grows")
    assert markdown.settled_rows == 1
    markdown.update(" and grows.\n\n- a\n- b\n- c")
    assert markdown.settled_rows == 1 + 2 + 2, "`One.`, `Two …` and `- a`, with the empty rows between them"
    assert terminal.screen.rows() == ["One.", "", "Two grows and grows.", "", " • a", " • b", " • c"]


def test_a_line_that_may_become_something_else_settles_nothing(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal()
    stream(terminal, ["Sum:\n", "#", "hashtag", " is a word\n", "*", "*bold** too\n"])
    assert terminal.screen.rows() == ["Sum:", "#hashtag is a word", "bold too"]


def test_code_that_outgrows_the_terminal_settles_row_by_row(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal(40, 10)
    lines = [f"line_{number} = {number}" for number in range(50)]
    markdown = MarkdownStream(terminal.console)
    markdown.update("```python\n")
    for line in lines:
        markdown.update(line + "\n")
    assert markdown.settled_rows == 50 - 9
    markdown.update("```\n")
    markdown.finish()
    assert terminal.screen.rows() == lines


def test_long_code_with_empty_and_overlong_lines_is_whole_in_the_end(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal(30, 6)
    code = "".join(
        f"\n\nvalue_{number} = {number:040}\n" if number % 9 == 0 else f"x = {number}\n" for number in range(200)
    )
    stream(terminal, ["Look:\n", *pieces(f"```python\n{code}```\nDone.", 7)])
    rows = terminal.screen.rows()
    assert rows[:2] == ["Look:", ""]
    assert rows[-2:] == ["", "Done."]
    shown = "".join(row.rstrip() for row in rows[2:-2])
    assert shown.replace(" ", "") == code.replace("\n", "").replace(" ", "")


def test_a_paragraph_that_outgrows_the_terminal_is_whole_in_the_end(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal(20, 5)
    words = [f"слово{number}" for number in range(100)]
    stream(terminal, [word + " " for word in words])
    assert " ".join(terminal.screen.rows()).split() == words


def test_growing_rewrites_only_the_row_that_grows(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal(20, 10)
    markdown = MarkdownStream(terminal.console)
    markdown.update("one two three four five six seven")
    terminal.screen.touched.clear()
    markdown.update(" x")
    assert min(terminal.screen.touched) == 1


def test_control_characters_never_reach_the_terminal(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal()
    stream(terminal, ["a\x1b[2J\x07b\x9b31m c\u2028d\r\n"])
    assert terminal.screen.rows()[0].startswith("a[2Jb31m c")


def test_html_is_shown_as_it_was_written(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal()
    stream(terminal, ["<script>alert(1)</script>\n\nand <b>bold</b>\n"])
    assert terminal.screen.rows() == ["<script>alert(1)</script>", "", "and <b>bold</b>"]


def test_a_narrower_window_mid_reply_leaves_no_doubled_text(new_terminal: Callable[..., Any]) -> None:
    terminal = new_terminal(40, 10)
    markdown = MarkdownStream(terminal.console)
    markdown.update("first words")
    terminal.console.width = 20
    markdown.update(" and the rest of it")
    markdown.finish()
    assert " ".join(terminal.screen.rows()) == "first words and the rest of it"


@given(
    st.lists(
        st.sampled_from(
            ["a", "б", "日", "🍅", " ", "\n", "\n\n", "- ", "1. ", "> ", "#", "```", "`", "*", "**", "_", "|", "---",
             "    ", "[x](y)", "![i](u)", "<b>", "~~", "\\", "&amp;", "x | y\n--|--\n", "[", "]"]
        ),
        max_size=40,
    )
)  # fmt: skip
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_text_in_pieces_gives_what_it_gives_at_once(new_terminal: Callable[..., Any], parts: list[str]) -> None:
    streamed, whole = new_terminal(30, 8), new_terminal(30, 8)
    stream(streamed, parts)
    stream(whole, ["".join(parts)])
    assert streamed.screen.rows() == whole.screen.rows()
