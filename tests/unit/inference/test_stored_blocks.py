"""Which blocks are taken as they are stored, and what becomes of weights that are stored otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.inference.engine.block_weights import pack
from services.inference.engine.decoder_config import read_config
from services.inference.engine.decoder_weights import read_blocks
from services.inference.engine.weight_room import WeightRoom
from tests.support.held_weights import HeldWeights
from tests.support.rounded_weights import rounded_to

if TYPE_CHECKING:
    from services.inference.engine.block_weights import Bits, DecoderBlocks, Rounded

CONFIG = {
    "vocab_size": 48,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
ATTENTION = "model.layers.0.self_attn."
ALL_OF_ATTENTION = [f"{ATTENTION}{part}_proj.weight" for part in "qkv"]


@pytest.fixture(params=[False, True], ids=["head of its own", "tied head"])
def tied(request: pytest.FixtureRequest) -> bool:
    return request.param


def _model(*, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**CONFIG, tie_word_embeddings=tied))


def _read(own: dict[str, Bits], bits: Rounded, *, tied: bool = False) -> DecoderBlocks:
    """Reads a tiny model, some of whose weights are stored in blocks: not those that rounding would make of them."""
    model = _model(tied=tied)
    weights = dict(model.named_parameters())
    blocks = {name: rounded_to(kind, -weights[name].detach()) for name, kind in own.items()}
    read = read_config(model.config)
    assert read is not None
    return read_blocks(HeldWeights(weights, blocks), read, torch.float32, bits)[1]


def _head(*, tied: bool) -> str:
    return "model.embed_tokens.weight" if tied else "lm_head.weight"


@pytest.mark.parametrize(("own", "asked", "used"), [(4, 4, 4), (6, 4, 6), (8, 4, 4), (4, 8, 8), (6, 8, 6), (8, 8, 8)])
def test_they_are_taken_where_they_have_no_more_bits_or_six_instead_of_eight(own: Bits, asked: Rounded, used: Bits):
    blocks = _read(dict.fromkeys(ALL_OF_ATTENTION, own), asked)
    assert blocks.layers[0].qkv.bits == used


@pytest.mark.parametrize(
    ("own", "asked", "used"), [(None, 4, 8), (4, 4, 4), (6, 4, 6), (8, 4, 8), (4, 8, 8), (6, 8, 6)]
)
def test_a_head_has_eight_bits_unless_it_is_stored_in_fewer(
    own: Bits | None, asked: Rounded, used: Bits, *, tied: bool
):
    stored: dict[str, Bits] = {} if own is None else {_head(tied=tied): own}
    assert _read(stored, asked, tied=tied).head.bits == used


def test_where_parts_of_a_linear_have_other_forms_all_of_it_has_eight_bits():
    query, key, value = ALL_OF_ATTENTION
    blocks = _read({query: 4, key: 4, value: 6, f"{ATTENTION}o_proj.weight": 6}, 4)
    assert blocks.layers[0].qkv.bits == 8
    assert blocks.layers[0].attention_out.bits == 6
    assert blocks.layers[0].down.bits == 8
    assert blocks.bits == {6, 8}


def test_eight_bits_are_kept_where_others_have_fewer():
    blocks = _read({**dict.fromkeys(ALL_OF_ATTENTION, 4), f"{ATTENTION}o_proj.weight": 8}, 4)
    stored = rounded_to(8, -_model().model.layers[0].self_attn.o_proj.weight.detach())
    assert torch.equal(blocks.layers[0].attention_out.weights, pack(stored, WeightRoom()))


def test_weights_in_no_blocks_are_rounded_to_what_is_asked_for():
    blocks = _read({}, 4)
    assert blocks.layers[0].qkv.bits == blocks.layers[0].down.bits == 4
    assert blocks.bits == {4, 8}
