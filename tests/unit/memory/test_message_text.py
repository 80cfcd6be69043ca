"""What of a message is embedded and found by words."""

from __future__ import annotations

from services.memory.message_text import embedded_text, searched_words
from services.memory.terms import query_terms
from services.memory.vector import UnembeddedMessage

MAY_7 = 1_683_417_600 * 10**9  # 2023-05-07T00:00:00Z


def test_a_text_is_embedded_with_who_said_it_and_when():
    assert embedded_text(UnembeddedMessage(1, "u", "I went.", "Anna", MAY_7)) == "Anna: I went. (7 May 2023)"
    assert embedded_text(UnembeddedMessage(1, "u", "I went.", None, MAY_7 - 1)) == "I went. (6 May 2023)"


def test_the_date_is_in_the_language_of_the_text():
    assert embedded_text(UnembeddedMessage(1, "u", "Пошла.", "Анна", MAY_7)) == "Анна: Пошла. (7 мая 2023)"


def test_a_message_is_found_by_its_author_and_by_its_date_in_either_language():
    found_by = {*query_terms(searched_words(UnembeddedMessage(1, "u", "Пошла.", "Анна", MAY_7)))}
    for query in ("Анну", "7 May 2023", "в мае", "пошла"):
        assert {*query_terms(query)} <= found_by, query


def test_a_time_before_1970_and_the_latest_there_is_have_dates():
    for nanoseconds in (-9_214_560_000 * 10**9, 9_214_646_399 * 10**9):
        assert embedded_text(UnembeddedMessage(1, "u", "x", None, nanoseconds)).startswith("x (")
