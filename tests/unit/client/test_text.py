"""Text that is safe to send to a terminal, and fits it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from client.terminal.text import printable, shortened


def test_control_characters_are_taken_away_but_line_ends_and_tabs() -> None:
    assert printable("a\x1b[31mb\x07\r\n\tc\x9b2J\x7f") == "a[31mb\n\tc2J"


@pytest.mark.parametrize(
    ("text", "columns", "short"),
    [
        ("one two", 7, "one two"),
        ("one\n  two", 7, "one two"),
        ("one two", 6, "one t…"),
        ("Привет, мир", 8, "Привет,…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("e\u0301te\u0301", 3, "e\u0301te\u0301"),
        ("👩‍👩‍👧‍👦 family", 3, "👩‍👩‍👧‍👦…"),
        ("ab👩‍👩‍👧‍👦", 3, "ab…"),
        ("abc", 1, "…"),
    ],
)
def test_a_line_is_cut_where_the_terminal_ends(text: str, columns: int, short: str) -> None:
    assert shortened(text, columns) == short


SEEN_AS_ONE = ["a", "я", " ", "\n", "日", "🍅", "e\u0301", "й", "👍🏽", "👩‍👩‍👧‍👦", "🇷🇺", "❤️"]


@given(st.lists(st.sampled_from(SEEN_AS_ONE), max_size=30).map("".join), st.integers(1, 20))
def test_no_line_is_wider_than_it_may_be(text: str, columns: int) -> None:
    short = shortened(text, columns)
    assert "\n" not in short
    assert wcswidth(short) <= columns
