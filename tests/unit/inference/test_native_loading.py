"""What is said where a model cannot be loaded as asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.inference.engine.loader import load_model
from services.inference.engine.model_source import ModelFolder, locate
from services.inference.engine.native import NativeEngine
from services.inference.progress import Progress
from services.inference.settings import InferenceSettings
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from pathlib import Path

    from services.inference.engine.loader import LoadedModel


@pytest.fixture
def tiny(tmp_path: Path, loaded: LoadedModel) -> Path:
    """A tiny random model with the embedded one's tokenizer."""
    return _save(tmp_path / "tiny", loaded, intermediate_size=128)


def _save(folder: Path, loaded: LoadedModel, intermediate_size: int) -> Path:
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152,
            hidden_size=64,
            intermediate_size=intermediate_size,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=64,
        )
    ).save_pretrained(folder)
    loaded.tokenizer._tokenizer.save_pretrained(folder)
    return folder


def _load(folder: Path, **changed: object) -> LoadedModel:
    settings = InferenceSettings(model=str(folder), data_dir=folder, device="cpu", threads=2, **changed)
    return load_model(settings, locate(settings.model, settings.data_dir, Progress()), Progress())


def _set(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    path.write_text(path.read_text().replace(old, new))


def test_the_embedded_model_is_what_people_are_told(loaded: LoadedModel):
    info = loaded.info
    assert (info.id, info.weights, info.device) == ("SmolLM2-135M-Instruct", "fp32", "cpu")
    assert (info.description, info.languages) == ("small, English only", ("en",))
    assert (info.context_tokens, info.vocabulary_size, info.architecture) == (8192, 49152, "llama")
    assert info.parameters == 134_515_008


@pytest.mark.parametrize("weights", ["bf16", "fp32", "bnb-int8", "bnb-nf4"])
def test_a_folder_loads_in_every_kind_of_weights_on_a_cpu(tiny: Path, weights: str):
    info = _load(tiny, weights=weights).info
    assert (info.id, info.weights, info.context_tokens) == ("tiny", weights, 64)


def test_loading_tells_how_far_it_is(tiny: Path):
    told: list[str] = []

    class Told(Progress):
        def reach(self, done: int, total: int) -> None:
            super().reach(done, total)
            told.append(self.describe())

    settings = InferenceSettings(model=str(tiny), data_dir=tiny, device="cpu", threads=2)
    load_model(settings, ModelFolder("tiny", tiny), Told())
    assert told[0] == "loading tiny: 49 % of 25 MB"
    assert told[-1] == "loading tiny: 99 % of 25 MB"


@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_bitsandbytes_is_told_from_where_on_inputs_are_outliers(tiny: Path, threshold: float):
    model = _load(tiny, weights="bnb-int8", bnb_int8_threshold=threshold).model
    assert model.model.layers[0].mlp.up_proj.state.threshold == threshold


def test_weights_in_blocks_are_for_models_of_the_right_sizes(tmp_path: Path, loaded: LoadedModel, tiny: Path):
    assert _load(tiny).info.weights == "int8"
    tiny = _save(tmp_path / "odd", loaded, intermediate_size=72)
    assert _load(tiny).info.weights == "bf16"
    with pytest.raises(StartupError, match="CHATBOT_WEIGHTS=int4 is for models of the Llama, Qwen and Gemma"):
        _load(tiny, weights="int4")


def test_a_gguf_file_runs_in_the_blocks_it_comes_in(settings: InferenceSettings):
    own = settings.model_copy(update={"weights": "auto"})
    loaded = load_model(own, locate("embedded", own.data_dir, Progress()), Progress())
    blocks = loaded.model.blocks
    assert loaded.info.weights == "int4"
    assert {linear.form for layer in blocks.layers for linear in (layer.qkv, layer.gate_up, layer.down)} == {"Q4_1"}
    assert blocks.head.form == "Q8_0"


def test_the_context_can_be_cut_but_not_grown(tiny: Path):
    assert _load(tiny, context_tokens=32).info.context_tokens == 32
    assert _load(tiny, context_tokens=1000).info.context_tokens == 64


def test_the_models_own_sampling_applies_where_its_makers_sample(tiny: Path):
    (tiny / "generation_config.json").write_text(
        '{"do_sample": true, "top_k": 64, "top_p": 0.5, "eos_token_id": [2, 7]}'
    )
    loaded = _load(tiny)
    assert (loaded.info.sampling.temperature, loaded.info.sampling.top_k, loaded.info.sampling.top_p) == (1.0, 64, 0.5)
    assert loaded.end_tokens >= {2, 7}


def test_an_architecture_that_is_not_supported_is_named(tiny: Path):
    _set(tiny, "config.json", '"llama"', '"t5"')
    with pytest.raises(StartupError, match="tiny cannot be used: t5"):
        _load(tiny)


def test_damaged_weights_are_told(tiny: Path):
    weights = tiny / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(StartupError, match="damaged or incomplete"):
        _load(tiny)


def test_weights_that_lack_a_part_are_told(tiny: Path):
    _set(tiny, "config.json", '"num_hidden_layers": 1', '"num_hidden_layers": 2')
    with pytest.raises(StartupError, match="damaged or incomplete"):
        _load(tiny)


def test_a_missing_tokenizer_is_told(tiny: Path):
    (tiny / "tokenizer.json").unlink()
    with pytest.raises(StartupError, match="tokenizer"):
        _load(tiny)


def test_weights_that_were_quantized_elsewhere_are_refused(tiny: Path):
    _set(tiny, "config.json", '"model_type"', '"quantization_config": {"quant_method": "gptq"}, "model_type"')
    with pytest.raises(StartupError, match=r"quantized already \(gptq\)"):
        _load(tiny)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(tiny: Path):
    settings = InferenceSettings(model=str(tiny), data_dir=tiny, device="cuda")
    with pytest.raises(StartupError, match="CHATBOT_DEVICE=cuda"):
        load_model(settings, ModelFolder("tiny", tiny), Progress())


def test_weights_that_the_device_cannot_compute_are_told(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    def impossible(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(LlamaForCausalLM, "forward", impossible)
    with pytest.raises(StartupError, match="CHATBOT_WEIGHTS=bnb-int8 cannot be computed on the cpu"):
        _load(tiny, weights="bnb-int8")


async def test_a_step_that_cannot_be_compiled_here_is_told(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    def impossible(*_: object, **__: object) -> None:
        raise RuntimeError("no such target")

    loaded = _load(tiny)
    monkeypatch.setattr("services.inference.engine.compiled_decoder.CompiledStep", impossible)
    with pytest.raises(StartupError, match="CHATBOT_WEIGHTS=int8 cannot be computed on the cpu here; set it to bf16"):
        NativeEngine(loaded, max_running=1, prefix_cache_tokens=0)
