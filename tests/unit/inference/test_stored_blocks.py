"""Which blocks of a folder's own are taken, and what becomes of weights that it has none for."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from services.inference.engine.block_file import BLOCK_FILE, block_tensors
from services.inference.engine.decoder_config import read_config
from services.inference.engine.decoder_weights import read_blocks
from tests.support.rounded_weights import rounded_to

if TYPE_CHECKING:
    from pathlib import Path

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


def _read(folder: Path, own: dict[str, Bits], bits: Rounded, *, tied: bool = False) -> DecoderBlocks:
    """Reads a tiny model, which has blocks of its own for some of its weights."""
    config = LlamaConfig(**CONFIG, tie_word_embeddings=tied)
    torch.manual_seed(1)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    weights = dict(model.named_parameters()) | {"lm_head.weight": model.lm_head.weight}
    tensors = [block_tensors(name, rounded_to(kind, weights[name].detach())) for name, kind in own.items()]
    if tensors:
        save_file(dict(ChainMap(*tensors)), folder / BLOCK_FILE)
    read = read_config(config)
    assert read is not None
    return read_blocks(folder, read, torch.float32, bits)[1]


def _head(*, tied: bool) -> str:
    return "model.embed_tokens.weight" if tied else "lm_head.weight"


@pytest.mark.parametrize(("own", "asked", "used"), [(4, 4, 4), (6, 4, 6), (4, 8, 8), (6, 8, 6)])
def test_they_are_taken_where_they_have_no_more_bits_or_six_instead_of_eight(
    tmp_path: Path, own: Bits, asked: Rounded, used: Bits
):
    blocks = _read(tmp_path, dict.fromkeys(ALL_OF_ATTENTION, own), asked)
    assert blocks.layers[0].qkv.bits == used


@pytest.mark.parametrize(("own", "asked", "used"), [(None, 4, 8), (4, 4, 4), (6, 4, 6), (4, 8, 8), (6, 8, 6)])
def test_a_head_has_eight_bits_unless_the_folder_has_fewer(
    tmp_path: Path, own: Bits | None, asked: Rounded, used: Bits, *, tied: bool
):
    stored: dict[str, Bits] = {} if own is None else {_head(tied=tied): own}
    assert _read(tmp_path, stored, asked, tied=tied).head.bits == used


def test_where_parts_of_a_linear_have_other_forms_all_of_it_has_eight_bits(tmp_path: Path):
    query, key, value = ALL_OF_ATTENTION
    blocks = _read(tmp_path, {query: 4, key: 4, value: 6, f"{ATTENTION}o_proj.weight": 6}, 4)
    assert blocks.layers[0].qkv.bits == 8
    assert blocks.layers[0].attention_out.bits == 6
    assert blocks.layers[0].down.bits == 8
    assert blocks.bits == {6, 8}


def test_a_folder_without_any_is_rounded_to_what_is_asked_for(tmp_path: Path):
    blocks = _read(tmp_path, {}, 4)
    assert blocks.layers[0].qkv.bits == blocks.layers[0].down.bits == 4
    assert blocks.bits == {4, 8}
