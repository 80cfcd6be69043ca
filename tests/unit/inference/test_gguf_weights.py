"""Weights read from a `.gguf` file are those of the model that it was written from, and those transformers reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, GgufConfig

from services.inference.engine import gguf_cache
from services.inference.engine.gguf_config import ConfigurationUnknown, read_config
from services.inference.engine.gguf_header import read_header
from services.inference.engine.gguf_source import GgufSource, StoredTensor
from services.inference.engine.gguf_weights import GgufWeights
from services.inference.engine.loader import load_model
from services.inference.engine.model_source import locate
from services.inference.engine.weight_source import has_4_bit_blocks, open_weights
from services.inference.progress import Progress
from services.inference.settings import InferenceSettings
from services.rpc.settings import StartupError
from tests.support.gguf_file import write_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 32},
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 32},
}
SIZES = {
    "vocab_size": 272,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "eos_token_id": 271,
    "bos_token_id": None,
    "pad_token_id": None,
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=[False, True], ids=["head of its own", "tied head"])
def tied(request: pytest.FixtureRequest, family: str) -> bool:
    # The format has no head of its own for Gemma 2.
    return request.param or family == "gemma2"


def _model(family: str, **changed: object) -> PreTrainedModel:
    torch.manual_seed(5)
    config = CONFIG_MAPPING[family](**{**SIZES, **FAMILIES[family], **changed})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def _prepared(folder: Path, model: PreTrainedModel, **how: object) -> Path:
    write_model(folder / "model.gguf", model, **how)
    return gguf_cache.prepared(folder / "model.gguf", folder, Progress())


def test_they_are_what_was_written(tmp_path: Path, family: str, *, tied: bool):
    model = _model(family, tie_word_embeddings=tied)
    folder = _prepared(tmp_path, model)
    written = model.state_dict()
    assert not list(folder.glob("*.safetensors"))
    with open_weights(folder) as weights:
        assert set(weights.names) == set(written) - ({"lm_head.weight"} if tied else set())
        for name in weights.names:
            assert weights.shape(name) == tuple(written[name].shape)
            # Norms of Gemma are stored as one more, in fp32.
            torch.testing.assert_close(weights.take(name, torch.float32), written[name], rtol=0, atol=2e-7)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "BF16", "F16"])
def test_transformers_reads_the_same(tmp_path: Path, family: str, kind: str):
    # transformers takes no notice of how large a file says that heads are: these are as large as Qwen 3's.
    folder = _prepared(tmp_path, _model(family, **({"head_dim": 128} if family == "qwen3" else {})), kind=kind)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    ).state_dict()
    with open_weights(folder) as weights:
        for name in weights.names:
            assert torch.equal(weights.take(name, torch.float32), theirs[name]), name


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0", "Q5_0", "F16"])
def test_tokens_are_looked_up_in_what_is_stored(tmp_path: Path, family: str, kind: str):
    folder = _prepared(tmp_path, _model(family), kind=kind)
    name = "model.embed_tokens.weight"
    with open_weights(folder) as weights:
        table, whole = weights.take_table(name, torch.bfloat16), weights.take(name, torch.bfloat16)
    # Once, again, and beside others.
    for tokens in ([5], [5, 5, 271], [0, 5, 100, 271, 0], list(range(272))):
        assert torch.equal(table.look_up(tokens), whole[tokens])
    assert (len(table), table.dtype) == (272, torch.bfloat16)


def test_a_tied_heads_blocks_are_the_embedding_too(tmp_path: Path):
    folder = _prepared(tmp_path, _model("llama", tie_word_embeddings=True), kind="Q8_0")
    settings = InferenceSettings(model=str(folder), data_dir=tmp_path, device="cpu", threads=2)
    table = load_model(settings, locate(str(folder), tmp_path, Progress()), Progress()).model.weights.embedding
    with open_weights(folder) as weights:
        whole = weights.take("model.embed_tokens.weight", torch.bfloat16)
    assert table.nbytes == 0
    assert torch.equal(table.look_up([0, 271, 17, 17]), whole[[0, 271, 17, 17]])
    assert len(table) == 272


def test_a_token_that_nobody_asks_for_takes_no_memory(tmp_path: Path):
    folder = _prepared(tmp_path, _model("llama"), kind="Q4_1")
    with open_weights(folder) as weights:
        table = weights.take_table("model.embed_tokens.weight", torch.bfloat16)
    assert table.nbytes == 272 * 40
    table.look_up([3, 3, 9])
    assert table.nbytes == 272 * 40 + 2 * 64 * 2


def test_blocks_have_their_rows_where_weights_have_them(tmp_path: Path, family: str):
    folder = _prepared(tmp_path, _model(family), kind="Q4_1")
    assert has_4_bit_blocks(folder)
    with open_weights(folder) as weights:
        for name in weights.names:
            if weights.form_of(name) is not None:
                assert torch.equal(weights.take_blocks(name).dequantized(), weights.take(name, torch.float32)), name


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "IQ4_NL"])
def test_types_that_are_no_blocks_here_are_read_as_the_format_says(tmp_path: Path, kind: str):
    values, size = gguf.GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    data = np.random.default_rng(7).integers(0, 100, (64, 256 // values * size), dtype=np.uint8)
    file = tmp_path / "data"
    file.write_bytes(data.tobytes())
    status = file.stat()
    tensors = {"weight": StoredTensor(kind, (64, 256), 0, data.nbytes)}
    weights = GgufWeights(GgufSource(str(file), status.st_size, status.st_mtime_ns, "", (), tensors, 0))
    wanted = torch.from_numpy(gguf.quants.dequantize(data, GGMLQuantizationType[kind]))
    assert weights.form_of("weight") is None
    assert torch.equal(weights.take("weight", torch.float32), wanted)


def _config(folder: Path, model: PreTrainedModel, **how: object) -> PretrainedConfig:
    write_model(folder / "model.gguf", model, **how)
    return read_config(read_header(folder / "model.gguf"))


def test_the_configuration_is_what_transformers_makes_of_the_file(tmp_path: Path, family: str, *, tied: bool):
    model = _model(family, tie_word_embeddings=tied)
    ours = _config(tmp_path, model).to_dict()
    theirs = AutoConfig.from_pretrained(tmp_path, gguf_file="model.gguf").to_dict()
    # Where transformers leaves its class's defaults, the model's own count.
    own = {"head_dim", "query_pre_attn_scalar", "bos_token_id", "eos_token_id", "pad_token_id"}
    for name in set(ours) - own - {"architectures", "dtype", "_name_or_path"}:
        assert ours[name] == theirs[name], name
    for name in own & set(ours):
        assert ours[name] == model.config.to_dict()[name], name


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
@pytest.mark.parametrize("method", ["linear", "yarn"])
def test_a_rotation_is_scaled_as_the_file_says(tmp_path: Path, family: str, method: str):
    values = {"rope.scaling.type": method, "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 128}
    rope = _config(tmp_path, _model(family), values=values).rope_parameters
    whole = rope.get("full_attention", rope)
    assert (whole["rope_type"], whole["factor"]) == (method, 8.0)
    if method == "yarn":
        assert whole["original_max_position_embeddings"] == 128
    if family == "gemma3_text":
        assert rope["sliding_attention"] == {"rope_type": "default", "rope_theta": 10_000.0}


def _llama_3_factors(config: PretrainedConfig, factor: float) -> np.ndarray:
    """As llama.cpp's converter writes them."""
    size, base = config.head_dim, config.rope_parameters["rope_theta"]
    low, high = 8192 / 1.0, 8192 / 4.0
    factors = []
    for frequency in 1.0 / (base ** (np.arange(0, size, 2) / size)):
        wave = 2 * np.pi / frequency
        if wave < high:
            factors.append(1.0)
        elif wave > low:
            factors.append(factor)
        else:
            smooth = (8192 / wave - 1.0) / (4.0 - 1.0)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def _llama_3(**changed: object) -> PreTrainedModel:
    rope = {"rope_type": "default", "rope_theta": 500_000.0}
    return _model("llama", head_dim=64, rope_parameters=rope, **changed)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3s_rotation_is_known_by_its_factors(tmp_path: Path, factor: float):
    model = _llama_3()
    tensors = {"rope_freqs.weight": _llama_3_factors(model.config, factor)}
    rope = _config(tmp_path, model, tensors=tensors).rope_parameters
    assert rope == {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


def test_other_factors_are_refused(tmp_path: Path):
    model = _llama_3()
    factors = _llama_3_factors(model.config, 8.0)
    factors[3] = 2.0
    write_model(tmp_path / "model.gguf", model, tensors={"rope_freqs.weight": factors})
    with pytest.raises(StartupError, match="frequencies are divided otherwise than Llama 3's, which is not supported"):
        gguf_cache.prepared(tmp_path / "model.gguf", tmp_path, Progress())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"type": "longrope", "factor": 2.0}, "scaled by longrope"),
        ({"type": "linear"}, "scaled by linear, not saying by how much,"),
        ({"type": "yarn", "factor": 2.0}, "scaled by yarn, not saying by how much,"),
    ],
)
def test_a_scaling_that_is_not_known_is_refused(tmp_path: Path, values: dict[str, object], said: str):
    with pytest.raises(ConfigurationUnknown, match=f"a rotation that is {said}"):
        _config(tmp_path, _model("llama"), values={f"rope.scaling.{key}": value for key, value in values.items()})


def test_a_gemma_2_that_does_not_tell_its_window_has_its_makers(tmp_path: Path):
    config = _config(tmp_path, _model("gemma2"), left_out=("attention.sliding_window",))
    assert config.sliding_window == 4096


@pytest.mark.parametrize(
    ("pattern", "windowed"),
    [(2, [1, 0, 1, 0, 1, 0, 1]), ([True, True, False, True, False, True, False], [1, 1, 0, 1, 0, 1, 0])],
)
def test_which_layers_have_a_window_is_read_where_it_is_said(
    tmp_path: Path, pattern: int | list[bool], windowed: list[int]
):
    config = _config(tmp_path, _model("gemma3_text"), values={"attention.sliding_window_pattern": pattern})
    assert [kind == "sliding_attention" for kind in config.layer_types] == [bool(one) for one in windowed]


def test_gemma_of_27_billion_scales_products_as_its_makers_do(tmp_path: Path):
    model = _model("gemma2", num_hidden_layers=46, hidden_size=128, num_attention_heads=8, head_dim=32)
    assert _config(tmp_path, model).query_pre_attn_scalar == 16


def test_a_tensor_that_is_not_known_has_transformers_unpack_the_file(tmp_path: Path):
    extra = {"blk.0.attn_q.bias": np.zeros(64, dtype=np.float32)}
    folder = _prepared(tmp_path, _model("llama"), tensors=extra)
    assert (folder / "model.safetensors").exists()
    with open_weights(folder) as weights:
        assert weights.form_of("model.layers.0.self_attn.q_proj.weight") is None


def test_a_vocabulary_that_cannot_be_read_is_told(tmp_path: Path):
    write_model(tmp_path / "model.gguf", _model("llama"), merges=("no word",))
    with pytest.raises(StartupError, match="its tokenizer is not supported, or damaged"):
        gguf_cache.prepared(tmp_path / "model.gguf", tmp_path, Progress())


def test_one_part_of_several_is_refused(tmp_path: Path):
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(StartupError, match=r"is one of 3 parts of a model; make them one by .*--merge"):
        gguf_cache.prepared(tmp_path / "model.gguf", tmp_path, Progress())


@pytest.mark.parametrize("weights", ["auto", "bf16", "bnb-int8"])
def test_a_file_that_changed_is_told(tmp_path: Path, weights: str):
    folder = _prepared(tmp_path, _model("llama"))
    settings = InferenceSettings(model=str(folder), data_dir=tmp_path, device="cpu", threads=2, weights=weights)
    load_model(settings, locate(str(folder), tmp_path, Progress()), Progress())
    with (tmp_path / "model.gguf").open("ab") as file:
        file.write(b"more")
    with pytest.raises(StartupError, match="damaged or incomplete"):
        load_model(settings, locate(str(folder), tmp_path, Progress()), Progress())


@pytest.mark.parametrize("weights", ["auto", "int4", "fp32", "bf16", "bnb-int8"])
def test_it_loads_in_every_kind_of_weights(tmp_path: Path, weights: str):
    write_model(tmp_path / "model.gguf", _model("qwen2"), kind="Q4_1")
    settings = InferenceSettings(
        model=str(tmp_path / "model.gguf"), data_dir=tmp_path, device="cpu", threads=2, weights=weights
    )
    loaded = load_model(settings, locate(settings.model, tmp_path, Progress()), Progress())
    assert loaded.info.weights == ("int4" if weights == "auto" else weights)
    assert loaded.info.architecture == "qwen2"
    assert loaded.end_tokens == {271}
    assert loaded.tokenizer.encode_text("hi") != ()


def test_eight_bits_of_a_file_are_taken_as_they_are(tmp_path: Path):
    folder = _prepared(tmp_path, _model("llama"), kind="Q8_0")
    settings = InferenceSettings(model=str(folder), data_dir=tmp_path, device="cpu", threads=2)
    loaded = load_model(settings, locate(str(folder), tmp_path, Progress()), Progress())
    assert (loaded.info.weights, loaded.model.blocks.forms) == ("int8", {"Q8_0"})
