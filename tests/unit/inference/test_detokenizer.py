"""Tokens to text: whole characters only, and nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from services.inference.engine.detokenizer import Detokenizer
from services.inference.engine.vocabulary import Vocabulary

_texts = st.text(alphabet=st.sampled_from("aя ё\nПривет😀👩‍🚀漢字é\u0301"), max_size=30)


def _byte_level() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    tokenizer.add_tokens([AddedToken("\u0120я", special=False)])
    return tokenizer


def _sentencepiece(*, strip: bool) -> Tokenizer:
    pieces = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁Привет", "я"]
    tokenizer = Tokenizer(models.BPE(vocab={p: n for n, p in enumerate(pieces)}, merges=[], byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)
    return tokenizer


BYTE_LEVEL = _byte_level()
BYTE_VOCABULARY = Vocabulary(BYTE_LEVEL)


@given(_texts)
def test_the_pieces_of_a_text_make_the_text_and_each_is_valid_utf8(text: str):
    detokenizer = Detokenizer(BYTE_VOCABULARY)
    pieces = [detokenizer.feed(token) for token in BYTE_LEVEL.encode(text).ids]
    assert "".join(pieces) == text
    assert all(piece.encode().decode() == piece for piece in pieces)
    assert "\ufffd" not in "".join(pieces)


@given(_texts)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(text: str):
    assert b"".join(map(BYTE_VOCABULARY.bytes_of, BYTE_LEVEL.encode(text).ids)) == text.encode()


def test_an_incomplete_character_is_held_back_to_the_end():
    detokenizer = Detokenizer(BYTE_VOCABULARY)
    tokens = BYTE_LEVEL.encode("ok😀").ids[:-1]
    assert "".join(map(detokenizer.feed, tokens)) == "ok"


def test_bytes_that_can_never_be_text_become_the_replacement_character():
    detokenizer = Detokenizer(BYTE_VOCABULARY)
    broken = BYTE_LEVEL.encode("я").ids[:1] + BYTE_LEVEL.encode("a").ids
    assert "".join(map(detokenizer.feed, broken)) == "\ufffda"


def test_special_tokens_are_no_text_but_have_bytes():
    end = BYTE_LEVEL.token_to_id("<end>")
    assert Detokenizer(BYTE_VOCABULARY).feed(end) == ""
    assert BYTE_VOCABULARY.bytes_of(end) == b"<end>"


def test_an_added_token_is_taken_as_it_is_written():
    assert BYTE_VOCABULARY.text_bytes_of(BYTE_LEVEL.token_to_id("\u0120я")) == "\u0120я".encode()


def test_ids_outside_the_vocabulary_have_no_bytes():
    assert BYTE_VOCABULARY.bytes_of(10**6) == b""
    assert BYTE_VOCABULARY.bytes_of(-1) == b""


@pytest.mark.parametrize("strip", [True, False])
def test_sentencepiece_tokens_decode_as_their_own_tokenizer_does(strip: bool):
    tokenizer = _sentencepiece(strip=strip)
    detokenizer = Detokenizer(Vocabulary(tokenizer))
    smile = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "😀".encode()]
    ids = [tokenizer.token_to_id(p) for p in ("▁Привет", "▁", "a", "я")] + smile
    assert "".join(map(detokenizer.feed, ids)) == tokenizer.decode(ids)


def test_tokens_of_other_tokenizers_are_what_they_decode_to():
    tokenizer = Tokenizer(models.WordLevel({"one": 0, "two": 1}))
    assert Vocabulary(tokenizer).bytes_of(1) == b"two"
