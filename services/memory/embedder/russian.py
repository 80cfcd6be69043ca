"""Tells what is Russian, and whether a model was made for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LETTER = re.compile(r"[^\W\d_]")
_CYRILLIC = re.compile(r"[а-яё]", re.IGNORECASE)
_SAMPLE = "Вчера вечером мы долго гуляли по набережной и вспоминали старых друзей, которые давно уехали из города."
_FEWEST_CHARACTERS_A_TOKEN = 2.0
"""A vocabulary made for a language has words of it: 3 to 5 characters a token. Another has letters: 1 to 1.5."""


def reads_russian(count_tokens: Callable[[str], int]) -> bool:
    """Returns whether a tokenizer has Russian words.

    Args:
        count_tokens: Returns how many tokens a text has.
    """
    return len(_SAMPLE) / max(count_tokens(_SAMPLE), 1) >= _FEWEST_CHARACTERS_A_TOKEN


def is_russian(text: str) -> bool:
    """Returns whether most letters of a text are Cyrillic."""
    return 2 * len(_CYRILLIC.findall(text)) > len(_LETTER.findall(text))
