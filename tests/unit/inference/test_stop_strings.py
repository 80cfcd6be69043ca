"""Stop strings against a reference that sees the whole text at once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.stop_strings import StopStrings

_texts = st.text(alphabet="abп\n", max_size=40)
_stops = st.lists(st.text(alphabet="abп\n", min_size=1, max_size=4), max_size=4).map(tuple)


def _reference(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    for end in range(1, len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None


def _cut(text: str, places: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(p % (len(text) + 1) for p in places)})
    return [text[a:b] for a, b in pairwise(borders)]


@given(_texts, _stops, st.lists(st.integers(0, 100), max_size=12))
def test_any_cutting_of_a_text_gives_what_the_whole_gives(text: str, stops: tuple[str, ...], places: list[int]):
    watch = StopStrings(stops)
    out, stop = "", None
    for piece in _cut(text, places):
        match = watch.feed(piece)
        out += match.text
        if match.stop is not None:
            stop = match.stop
            break
    else:
        out += watch.end()
    assert (out, stop) == _reference(text, stops)


@given(_texts, _stops)
def test_what_is_held_back_is_no_more_than_the_longest_beginning_of_a_stop_string(text: str, stops: tuple[str, ...]):
    watch = StopStrings(stops)
    for n, character in enumerate(text, 1):
        if watch.feed(character).stop is not None:
            return
        undecided = max((k for k in range(1, n + 1) if any(s.startswith(text[n - k : n]) for s in stops)), default=0)
        assert watch.held == undecided
