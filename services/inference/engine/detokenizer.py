"""Tokens to text, one at a time: bytes that are no whole character yet are held back."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.inference.engine.vocabulary import Vocabulary


class Detokenizer:
    """Turns the tokens of one reply into text. Bytes that can never become UTF-8 become U+FFFD."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._spaces_to_drop = vocabulary.leading_spaces

    def feed(self, token: int) -> str:
        """Returns the text that this token completes; empty where a character is still incomplete.

        A character that the reply ends in the middle of is never returned.
        """
        text = self._decoder.decode(self._vocabulary.text_bytes_of(token))
        while self._spaces_to_drop and text:
            if text[0] != " ":
                self._spaces_to_drop = 0
                break
            text = text[1:]
            self._spaces_to_drop -= 1
        return text
