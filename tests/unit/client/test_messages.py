"""The two languages of the terminal."""

from __future__ import annotations

from string import Formatter

import pytest

from client.terminal.messages import ENGLISH, RUSSIAN, Words, words_of_locale


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_say_the_same_things() -> None:
    assert ENGLISH.keys() == RUSSIAN.keys()
    plurals = {"one_message", "few_messages", "many_messages"}
    for key in ENGLISH.keys() - plurals:
        assert placeholders(ENGLISH[key]) == placeholders(RUSSIAN[key]), key


@pytest.mark.parametrize(
    ("count", "english", "russian"),
    [
        (0, "0 messages", "0 сообщений"),
        (1, "1 message", "1 сообщение"),
        (2, "2 messages", "2 сообщения"),
        (5, "5 messages", "5 сообщений"),
        (11, "11 messages", "11 сообщений"),
        (12, "12 messages", "12 сообщений"),
        (21, "21 messages", "21 сообщение"),
        (104, "104 messages", "104 сообщения"),
    ],
)
def test_numbers_of_messages_have_their_plural_form(count: int, english: str, russian: str) -> None:
    assert Words(ENGLISH).messages(count) == english
    assert Words(RUSSIAN).messages(count) == russian


@pytest.mark.parametrize(
    ("environment", "russian"),
    [
        ({}, False),
        ({"LANG": "ru_RU.UTF-8"}, True),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "C", "LC_ALL": "ru"}, True),
        ({"LC_ALL": "", "LANG": "ru_UA"}, True),
        ({"LANG": "run.UTF-8"}, False),
    ],
)
def test_the_locale_chooses_as_posix_orders_its_variables(environment: dict[str, str], russian: bool) -> None:
    assert (words_of_locale(environment)("stopped") == RUSSIAN["stopped"]) is russian
