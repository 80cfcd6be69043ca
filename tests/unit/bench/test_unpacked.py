"""A model in a `.gguf` file becomes one that peers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bench.unpacked import unpacked
from services.inference.engine import gguf_cache
from services.inference.progress import Progress
from tests.support.gguf_file import write_model

if TYPE_CHECKING:
    from pathlib import Path


def _model() -> LlamaForCausalLM:
    torch.manual_seed(2)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=272,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    ).eval()


def test_transformers_computes_with_it_what_the_model_computes(tmp_path: Path):
    model = _model()
    write_model(tmp_path / "model.gguf", model)
    folder = gguf_cache.prepared(tmp_path / "model.gguf", tmp_path, Progress())
    for _ in range(2):
        target = unpacked(folder, tmp_path / "unpacked")
    theirs = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
    tokens = torch.tensor([[3, 1, 200, 7]])
    with torch.inference_mode():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens).logits, rtol=0, atol=0.02)


def test_a_folder_with_safetensors_stays_as_it_is(tmp_path: Path):
    _model().save_pretrained(tmp_path / "model")
    assert unpacked(tmp_path / "model", tmp_path / "unpacked") == tmp_path / "model"
    assert not (tmp_path / "unpacked").exists()
