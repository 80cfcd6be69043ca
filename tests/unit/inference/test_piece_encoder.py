"""Texts encoded piece by piece: the same tokens as at once, and each piece once for a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from services.inference.engine.piece_encoder import PieceEncoder
from services.inference.engine.protocol import Message
from services.inference.engine.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel

START, END = "<|start|>", "<|end|>"
_CORPUS = [
    "The sea covers most of the planet, and its currents carry heat towards the poles.",
    "Море занимает большую часть планеты, и его течения несут тепло к полюсам.",
    "  def f(x):\n\n    return x + 1  # 12345\n",
]
_FRAGMENTS = st.sampled_from(
    [
        START,
        END,
        "<pad>",
        "<mask>",
        "xyz",
        "y",
        "<|st",
        "art|>",
        "<",
        "|>",
        "x<|",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "the sea",
        " Море",
        "é",
        "e\u0301",
    ]
)
_TEXTS = st.lists(_FRAGMENTS | st.text(max_size=6), max_size=12).map("".join)


def _trained(
    normalizer: normalizers.Normalizer | None, pre_tokenizer: pre_tokenizers.PreTokenizer, *controls: AddedToken
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106 (no password)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens([START, END, "<pad>"])
    for control in controls:
        tokenizer.add_tokens([control])
    return tokenizer


_MADE: dict[str, Callable[[], Tokenizer]] = {
    "bytes, as GPT-2": lambda: _trained(None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "bytes with a space in front": lambda: _trained(None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "a space in front of the first word, as Llama 2": lambda: _trained(
        None, pre_tokenizers.Metaspace(prepend_scheme="first")
    ),
    "a space in front of each part": lambda: _trained(None, pre_tokenizers.Metaspace(prepend_scheme="always")),
    "put in front by the normalizer": lambda: _trained(
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.NFC()]),
        pre_tokenizers.Split("▁", "merged_with_next"),
    ),
    "stripped by the normalizer": lambda: _trained(
        normalizers.Sequence([normalizers.Strip(), normalizers.NFKC(), normalizers.Lowercase()]),
        pre_tokenizers.Whitespace(),
    ),
    "controls that are found in normalized text": lambda: _trained(
        normalizers.Sequence([normalizers.Strip(), normalizers.Lowercase()]),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        AddedToken("the sea", normalized=True),
    ),
    "controls that take spaces": lambda: _trained(
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("xyz", single_word=True, normalized=False),
    ),
    "controls that end with others": lambda: _trained(
        None, pre_tokenizers.ByteLevel(add_prefix_space=False), AddedToken(f"y{END}", normalized=False)
    ),
    "controls that take a part of others": lambda: _trained(
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        AddedToken("x<|", normalized=False),
        AddedToken(f"{END}\n", normalized=False),
    ),
}


@pytest.fixture(scope="module", params=[*_MADE, "the embedded model's"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param in _MADE:
        return _MADE[request.param]()
    loaded: LoadedModel = request.getfixturevalue("loaded")
    return Tokenizer.from_str(loaded.tokenizer.as_json())


@given(text=_TEXTS, others=st.lists(_TEXTS, max_size=2))
@example(text="a  <mask>  the", others=[])
@example(text="taxyz xyz at", others=[])
@example(text="a  the sea", others=[])
@example(text=f"a{END}\nthe y{END}", others=[])
def test_pieces_have_together_the_tokens_of_the_text(tokenizer: Tokenizer, text: str, others: list[str]):
    controls = "".join(token.content for token in tokenizer.get_added_tokens_decoder().values())
    # Cut in front of all of them, and of those alone that a template would have.
    encoders = [PieceEncoder(tokenizer, drawn) for drawn in (controls, START + END)]
    for each in (*others, text, text):
        # What these are for stands in texts of the embedded model under other names.
        whole = each.replace(START, "<|im_start|>") if "<|im_start|>" in controls else each
        for encoder in encoders:
            assert encoder.encode(whole, "key") == tokenizer.encode(whole, add_special_tokens=False).ids


class _Counting:
    """A tokenizer that notes what it encodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.encoded: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)

    def encode(self, text: str, *, add_special_tokens: bool) -> object:
        self.encoded.append(text)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


@pytest.fixture
def counting() -> _Counting:
    return _Counting(_MADE["bytes, as GPT-2"]())


def test_what_was_encoded_for_a_key_is_not_again_and_for_another_it_is(counting: _Counting):
    encoder = PieceEncoder(counting, START + END)
    said = f"{START}user\nHi{END}\n"
    encoder.encode(said, "ann")
    assert counting.encoded == [f"{START}user\nHi", f"{END}\n"]
    counting.encoded.clear()
    encoder.encode(f"{said}{START}assistant\nHello", "ann")
    assert counting.encoded == [f"{START}assistant\nHello"]
    counting.encoded.clear()
    encoder.encode(said, "bob")
    assert counting.encoded == [f"{START}user\nHi", f"{END}\n"]


def test_a_text_is_cut_only_in_front_of_what_texts_have(counting: _Counting):
    PieceEncoder(counting, "").encode(f"{START}a{END}", "")
    assert counting.encoded == [f"{START}a{END}"]


def test_what_another_token_can_begin_in_front_of_is_no_place_to_cut():
    counting = _Counting(_MADE["controls that take a part of others"]())
    PieceEncoder(counting, START + END).encode(f"a{START}b{END}\n", "")
    assert counting.encoded == [f"a{START}b{END}\n"]


def test_what_was_used_least_lately_makes_room(counting: _Counting, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.inference.engine.piece_encoder._ROOM_BYTES", 2_000)
    encoder = PieceEncoder(counting, START)
    for number in range(50):
        encoder.encode(f"{START}{number}", "")
        encoder.encode(f"{START}always", "")
    counting.encoded.clear()
    encoder.encode(f"{START}always{START}49{START}0", "")
    assert counting.encoded == [f"{START}0"]


def test_a_next_turn_encodes_what_is_new_in_it(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    fresh = ChatTokenizer(loaded.tokenizer._tokenizer)
    counting = _Counting(fresh._pieces._tokenizer)
    fresh._pieces._tokenizer = counting
    talk = [
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "Hello!"),
        Message("user", "Why?"),
    ]
    for length in (2, 4):
        assert fresh.encode_chat(tuple(talk[:length]), "ann") == loaded.tokenizer.encode_chat(tuple(talk[:length]))
    assert [text for text in counting.encoded if "Hi" in text] == ["<|im_start|>user\nHi"]
    counting.encoded.clear()
    assert fresh.encode_chat(tuple(talk), "ann") == fresh.encode_chat(tuple(talk), "ann")
    assert counting.encoded == []
    assert fresh.count_chat(tuple(talk), "ann") == loaded.tokenizer.count_chat(tuple(talk))
    assert fresh.count_texts(["Hi", "Why?"], "ann") == loaded.tokenizer.count_texts(["Hi", "Why?"])
