"""What of a message is put into its vector and its terms: who said it, what was said, and when.

A turn of a conversation seldom says who speaks or what day it is, and a question about it nearly always does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.memory.vector import UnembeddedMessage

RECIPE = "author-text-date"
"""Names how the texts are made: other texts need another name, and what is stored is then made anew."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
_ENGLISH_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_RUSSIAN_MONTHS = (
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
)


def embedded_text(message: UnembeddedMessage) -> str:
    """Returns `Anna: what was said (7 May 2023)`; the date in the language of what was said."""
    russian = _CYRILLIC.search(message.content) is not None
    said = f"{message.content} ({_date(message, _RUSSIAN_MONTHS if russian else _ENGLISH_MONTHS)})"
    return f"{message.author}: {said}" if message.author else said


def searched_words(message: UnembeddedMessage) -> str:
    """Returns what the message is found by word by word: the date in both languages."""
    month = _RUSSIAN_MONTHS[_day(message).month - 1]
    return f"{message.author or ''}\n{message.content}\n{_date(message, _ENGLISH_MONTHS)} {month}"


def _date(message: UnembeddedMessage, months: tuple[str, ...]) -> str:
    day = _day(message)
    return f"{day.day} {months[day.month - 1]} {day.year}"


def _day(message: UnembeddedMessage) -> datetime:
    return _EPOCH + timedelta(microseconds=message.create_ns // 1000)
