"""A copy of a model without end tokens leaves the model as it is."""

from __future__ import annotations

import json
from pathlib import Path

from bench.engine.endless import endless


def test_it_has_no_end_tokens_and_the_same_weights(tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer_config.json").write_text('{"eos_token": "<end>", "unk_token": "<?>"}')
    (model / "generation_config.json").write_text('{"eos_token_id": [1, 2], "top_k": 5}')
    (model / "chat_template.jinja").write_text("{{ messages[0] }}<end>")
    (model / "model.safetensors").write_bytes(b"weights")
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    for _ in range(2):
        copy = endless(model, tmp_path / "copies" / "model")
    tokenizer = json.loads((copy / "tokenizer_config.json").read_text())
    assert tokenizer == {"eos_token": None, "unk_token": "<?>", "chat_template": None}
    assert not (copy / "chat_template.jinja").exists()
    assert json.loads((copy / "generation_config.json").read_text()) == {"eos_token_id": None, "top_k": 5}
    assert (copy / "model.safetensors").samefile(model / "model.safetensors")
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before
