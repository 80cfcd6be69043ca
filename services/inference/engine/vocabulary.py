"""The bytes that each token stands for.

Tokens of a byte-level BPE spell bytes as printable characters (Radford et al. 2019, "GPT-2"); those of a
SentencePiece model spell a space as `▁` and a lone byte as `<0x0A>`. Which it is, the tokenizer's decoder says.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenizers import Tokenizer

_LONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """All tokens of one tokenizer. Immutable, so any thread may read it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder()
        by_id = {number: piece for piece, number in tokenizer.get_vocab(with_added_tokens=True).items()}
        self.size = max(by_id, default=-1) + 1
        """Token ids are below this."""
        self._pieces = [by_id.get(number, "") for number in range(self.size)]
        self._added = {number: token.content.encode() for number, token in added.items()}
        self.special = frozenset(number for number, token in added.items() if token.special)
        """Tokens that steer the model and are no text."""
        decoder = json.loads(tokenizer.to_str()).get("decoder")
        steps = _steps(decoder)
        self._spell = _speller(steps, tokenizer)
        self.leading_spaces = sum(int(s.get("start", 0)) for s in steps if s["type"] == "Strip" and s["content"] == " ")
        """Spaces that the tokenizer adds in front of a text, to be taken off again."""

    def bytes_of(self, token: int) -> bytes:
        """Returns a token's own bytes, which need not be whole UTF-8. Unknown ids have none."""
        content = self._added.get(token)
        if content is not None:
            return content
        return self._spell(token, self._pieces[token]) if 0 <= token < self.size else b""

    def text_bytes_of(self, token: int) -> bytes:
        """Returns the bytes that a token adds to a text: none for special tokens."""
        return b"" if token in self.special else self.bytes_of(token)


def _steps(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [step for inner in decoder["decoders"] for step in _steps(inner)]
    return [decoder]


def _speller(steps: list[dict[str, Any]], tokenizer: Tokenizer) -> Callable[[int, str], bytes]:
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return lambda _, piece: b"".join(map(_byte_of, piece))
    if kinds & {"ByteFallback", "Metaspace"}:
        return lambda _, piece: _sentencepiece_bytes(piece)
    # Any other tokenizer: a token is what it decodes to on its own.
    return lambda token, _: tokenizer.decode([token], skip_special_tokens=False).encode()


def _sentencepiece_bytes(piece: str) -> bytes:
    lone = _LONE_BYTE.fullmatch(piece)
    return bytes([int(lone[1], 16)]) if lone else piece.replace("▁", " ").encode()


@cache
def _printable_bytes() -> dict[str, int]:
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _byte_of(character: str) -> bytes:
    byte = _printable_bytes().get(character)
    return character.encode() if byte is None else bytes([byte])
