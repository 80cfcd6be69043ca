"""Long texts of which most has been encoded before: a conversation, once more with each turn.

A tokenizer takes control tokens out of a text before anything else and encodes what stands between them, each by itself
(`AddedVocabulary.extract_and_normalize` of https://github.com/huggingface/tokenizers). So a text may be cut in front of
control tokens, and the tokens of its pieces, one after another, are its own. Those of pieces are remembered: a message
is encoded once, not with every turn of its conversation.
"""

from __future__ import annotations

import re
from array import array
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

from services.inference.engine.recently_used import RecentlyUsed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenizers import AddedToken, Tokenizer

_ROOM_BYTES = 32 << 20
_BYTES_BESIDE_TOKENS = 300
"""Of a piece that is remembered, nearly: its key and the containers."""
_BYTES_A_TOKEN = 4
_DIGEST_BYTES = 16


class PieceEncoder:
    """Encodes texts whose control tokens are meant. For one thread.

    Args:
        tokenizer: Without padding or truncation.
        drawn: A text with the control tokens that texts have: they are cut in front of these, where that is safe.
    """

    def __init__(self, tokenizer: Tokenizer, drawn: str) -> None:
        self._tokenizer = tokenizer
        borders = sorted(_borders(list(tokenizer.get_added_tokens_decoder().values()), drawn))
        self._border = re.compile("|".join(map(re.escape, borders))) if borders else None
        self._kept: RecentlyUsed[bytes, array[int]] = RecentlyUsed(_ROOM_BYTES)

    def encode(self, text: str, key: str) -> list[int]:
        """Returns a text's tokens, without an opening one.

        Args:
            text: Any.
            key: What was encoded for one is never remembered for another: how long it takes tells nobody else.
        """
        tokens: list[int] = []
        for piece in self._pieces(text):
            digest = digest_of(key, piece)
            known = self._kept.get(digest)
            if known is None:
                known = array("I", self._tokenizer.encode(piece, add_special_tokens=False).ids)
                self._kept.put(digest, known, len(known) * _BYTES_A_TOKEN + _BYTES_BESIDE_TOKENS)
            tokens += known
        return tokens

    def _pieces(self, text: str) -> list[str]:
        if self._border is None:
            return [text]
        starts = [found.start() for found in self._border.finditer(text)]
        return [text[start:end] for start, end in pairwise([0, *starts, len(text)]) if start < end]


def digest_of(key: str, text: str) -> bytes:
    """Returns what a text is remembered by for a key: its own letters are not kept."""
    return blake2b(
        text.encode("utf-8", "surrogatepass"),
        key=blake2b(key.encode("utf-8", "surrogatepass")).digest(),
        digest_size=_DIGEST_BYTES,
    ).digest()


def _borders(added: list[AddedToken], drawn: str) -> Iterable[str]:
    """Yields the control tokens of a text that nothing else can be read into, wherever they stand."""
    # What the text has to be normalized for is found later, in what is between these.
    found_first = [token for token in added if not token.normalized]
    for token in found_first:
        border = token.content
        if border not in drawn or token.lstrip or token.rstrip or token.single_word:
            continue
        if not any(_reaches_into(other.content, border) for other in found_first if other is not token):
            yield border


def _reaches_into(other: str, border: str) -> bool:
    """Returns whether another token can begin before a border and take some of it, or be read in its place."""
    return border in other or any(
        len(other) > length and other.endswith(border[:length]) for length in range(1, len(border))
    )
