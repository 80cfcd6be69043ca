"""A file with random weights is one that the engine reads, in the types that llama.cpp would give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.engine.random_model import Shape, write
from services.inference.engine.loader import load_model
from services.inference.engine.model_source import locate
from services.inference.progress import Progress
from services.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_read_in_the_blocks_that_it_has(tmp_path: Path):
    shape = Shape(hidden=96, intermediate=512, layers=8, heads=2, head_size=128, vocabulary=512, context=512, window=64)
    write(tmp_path / "random.gguf", shape)
    settings = InferenceSettings(model=str(tmp_path / "random.gguf"), data_dir=tmp_path, device="cpu", threads=2)
    loaded = load_model(settings, locate(settings.model, tmp_path, Progress()), Progress())
    assert (loaded.info.weights, loaded.info.architecture) == ("int4", "gemma3_text")
    assert {layer.gate_up.form for layer in loaded.model.blocks.layers} == {"Q5_0"}
    assert {layer.attention_out.form for layer in loaded.model.blocks.layers} == {"Q4_1"}
    # The finer layers' values have 8 bits, which queries and keys then have too.
    finer = [layer.qkv.form == "Q8_0" for layer in loaded.model.blocks.layers]
    assert finer == [True, False, False, True, False, False, True, True]
    assert {layer.down.form for layer in loaded.model.blocks.layers} == {"Q4_1", "Q6_K"}
    assert loaded.model.blocks.head.form == "Q8_0"
