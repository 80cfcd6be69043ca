"""Which blocks are taken as they are stored, and what becomes of weights that are stored otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.inference.engine.block_forms import FORMS
from services.inference.engine.block_packing import pack
from services.inference.engine.block_weights import in_8_bits, joined
from services.inference.engine.decoder_config import read_config
from services.inference.engine.weight_loading import read_blocks
from services.inference.engine.weight_room import WeightRoom
from tests.support.held_weights import HeldWeights
from tests.support.rounded_weights import rounded_to

if TYPE_CHECKING:
    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_linears import DecoderBlocks
    from services.inference.engine.block_rounding import Rounded

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


def _read(own: dict[str, Form], bits: Rounded, *, tied: bool = False) -> DecoderBlocks:
    """Reads a tiny model, some of whose weights are stored in blocks: not those that rounding would make of them."""
    model = _model(tied=tied)
    weights = dict(model.named_parameters())
    blocks = {name: rounded_to(kind, -weights[name].detach()) for name, kind in own.items()}
    read = read_config(model.config)
    assert read is not None
    return read_blocks(HeldWeights(weights, blocks), read, torch.float32, bits)[1]


def _head(*, tied: bool) -> str:
    return "model.embed_tokens.weight" if tied else "lm_head.weight"


@pytest.mark.parametrize("own", FORMS)
@pytest.mark.parametrize("asked", [4, 8])
def test_they_are_taken_where_they_have_as_few_bits_but_four_for_eight(own: Form, asked: Rounded):
    qkv = _read(dict.fromkeys(ALL_OF_ATTENTION, own), asked).layers[0].qkv
    bits = FORMS[own].bits
    if asked == 4:
        assert qkv.form == (own if bits < 8 else "Q4_1")
    else:
        assert qkv.form == (own if bits > 4 else "Q8_0")


@pytest.mark.parametrize(
    ("own", "asked", "used"),
    [
        (None, 4, "Q8_0"),
        ("Q4_0", 4, "Q4_0"),
        ("Q6_K", 4, "Q6_K"),
        ("Q8_0", 4, "Q8_0"),
        ("Q4_0", 8, "Q8_0"),
        ("Q6_K", 8, "Q6_K"),
    ],
)
def test_a_head_has_eight_bits_unless_it_is_stored_in_fewer(
    own: Form | None, asked: Rounded, used: Form, *, tied: bool
):
    stored: dict[str, Form] = {} if own is None else {_head(tied=tied): own}
    assert _read(stored, asked, tied=tied).head.form == used


def test_where_parts_of_a_linear_have_other_forms_all_of_it_has_eight_bits():
    query, key, value = ALL_OF_ATTENTION
    blocks = _read({query: "Q4_1", key: "Q4_1", value: "Q6_K", f"{ATTENTION}o_proj.weight": "Q6_K"}, 4)
    assert blocks.layers[0].qkv.form == "Q8_0"
    assert blocks.layers[0].attention_out.form == "Q6_K"
    assert blocks.layers[0].down.form == "Q8_0"
    assert blocks.forms == {"Q6_K", "Q8_0"}


def test_parts_that_have_one_scale_a_group_become_eight_bits_unchanged():
    query, key, value = ALL_OF_ATTENTION
    forms: dict[str, Form] = {query: "Q4_0", key: "Q5_0", value: "Q8_0"}
    attention = _model().model.layers[0].self_attn
    parts = zip((attention.q_proj, attention.k_proj, attention.v_proj), forms.values(), strict=True)
    stored = joined([in_8_bits(rounded_to(form, -part.weight.detach())) for part, form in parts])
    qkv = _read(forms, 4).layers[0].qkv
    assert qkv.form == "Q8_0"
    assert torch.equal(qkv.weights, pack(stored, WeightRoom()))


def test_eight_bits_are_kept_where_others_have_fewer():
    blocks = _read({**dict.fromkeys(ALL_OF_ATTENTION, "Q4_1"), f"{ATTENTION}o_proj.weight": "Q8_0"}, 4)
    stored = rounded_to("Q8_0", -_model().model.layers[0].self_attn.o_proj.weight.detach())
    assert torch.equal(blocks.layers[0].attention_out.weights, pack(stored, WeightRoom()))


def test_weights_in_no_blocks_are_rounded_to_what_is_asked_for():
    blocks = _read({}, 4)
    assert blocks.layers[0].qkv.form == blocks.layers[0].down.form == "Q4_1"
    assert blocks.forms == {"Q4_1", "Q8_0"}
