"""A shuffled model computes what the model computes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from bench.quantization.shuffled import shuffled

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_shuffled_model_computes_the_same(tmp_path: Path, family: str):
    config = CONFIG_MAPPING[family](
        vocab_size=60,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "model")
    folder = shuffled(tmp_path / "model", tmp_path / "shuffled")
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 64
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "shuffled"))
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("_proj.weight"))
    other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.tensor([[3, 1, 59, 7, 7, 20]])
    with torch.inference_mode():
        torch.testing.assert_close(other(tokens).logits, model(tokens).logits, rtol=1e-4, atol=1e-4)
