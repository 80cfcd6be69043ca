"""Tells what is Russian, and whether a model was made for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Embed = Callable[[Sequence[str]], NDArray[np.float32]]

_LETTER = re.compile(r"[^\W\d_]")
_CYRILLIC = re.compile(r"[а-яё]", re.IGNORECASE)
_SAMPLE = "Вчера вечером мы долго гуляли по набережной и вспоминали старых друзей, которые давно уехали из города."
_FEWEST_CHARACTERS_A_TOKEN = 2.0
"""A vocabulary made for a language has words of it: 3 to 5 characters a token. Another has letters: 1 to 1.5."""

_PAIRS = (
    ("Я выращиваю помидоры на балконе.", "Какие овощи растут у тебя дома?"),
    ("Моя сестра играет на скрипке.", "Кто в семье занимается музыкой?"),
    ("Поезд отходит в девять утра.", "Во сколько отправление с вокзала?"),
    ("У меня вчера сильно болела голова.", "Как твоё здоровье, лучше себя чувствуешь?"),
    ("Мы купили билеты в театр на субботу.", "На какой спектакль вы идёте в выходные?"),
    ("Кот опять разбил вазу.", "Что натворил твой питомец?"),
    ("Брат устроился работать поваром.", "Кем трудится твой родственник на кухне?"),
    ("Летом мы поедем к морю.", "Куда собираетесь в отпуск на пляж?"),
)
"""What was said, and a question about it that shares no word with it."""
_FEWEST_FOUND = 6
"""multilingual-e5-small finds all eight, all-MiniLM-L6-v2 two, a small English language model's states one."""


def reads_russian(count_tokens: Callable[[str], int]) -> bool:
    """Returns whether a tokenizer has Russian words.

    Args:
        count_tokens: Returns how many tokens a text has.
    """
    return len(_SAMPLE) / max(count_tokens(_SAMPLE), 1) >= _FEWEST_CHARACTERS_A_TOKEN


def finds_russian(embed_messages: Embed, embed_queries: Embed) -> bool:
    """Returns whether an embedder finds what was said in Russian by its meaning, for one without a known tokenizer.

    Args:
        embed_messages: Embeds what is to be found.
        embed_queries: Embeds what is looked for.
    """
    said = embed_messages([message for message, _ in _PAIRS])
    asked = embed_queries([question for _, question in _PAIRS])
    found = (asked @ said.T).argmax(axis=1) == np.arange(len(_PAIRS))
    return int(found.sum()) >= _FEWEST_FOUND


def is_russian(text: str) -> bool:
    """Returns whether most letters of a text are Cyrillic."""
    return not text.isascii() and 2 * len(_CYRILLIC.findall(text)) > len(_LETTER.findall(text))
