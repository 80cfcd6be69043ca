"""The configuration of a model, as Hugging Face's class has it, from what its `.gguf` file says.

transformers reads one too, but takes no notice of how a rotation is scaled, nor of how heads are sized where that is
not the hidden size shared out. Keys are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from services.inference.engine.gguf_tensors import ROPE_FACTORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig

    from services.inference.engine.gguf_header import GgufHeader

_GEMMAS = {"gemma2", "gemma3"}
_MODEL_TYPES = {"gemma3": "gemma3_text"}
_SIZES = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "context_length": "max_position_embeddings",
}
_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}
"""Their makers scale products of queries and keys of these by the hidden size; no key says so."""
_WINDOWS = {"gemma2": 4096}
"""Where older files do not say."""
_LOCAL_BASE = 10_000.0
_LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""All models of that family have these."""
_CLOSE = 1e-3


class ConfigurationUnknown(Exception):
    """A file says something of its model that is not known here. The message is what."""


def read_config(header: GgufHeader) -> PretrainedConfig:
    """Returns the configuration of a model of a family whose weights are known (`gguf_tensors`).

    Raises:
        ConfigurationUnknown: Something of it is not known.
        KeyError, TypeError, ValueError: A key is missing, or of another form than these families have.
    """
    arch = header.architecture
    model_type = _MODEL_TYPES.get(arch, arch)
    values: dict[str, Any] = {ours: header.number(theirs) for theirs, ours in _SIZES.items()}
    heads, layers = values["num_attention_heads"], values["num_hidden_layers"]
    values |= {
        "num_key_value_heads": header.number("attention.head_count_kv", heads),
        "rms_norm_eps": float(header.metadata[f"{arch}.attention.layer_norm_rms_epsilon"]),
        # A table may have more rows than there are tokens.
        "vocab_size": header.tensor("token_embd.weight").shape[0],
        "tie_word_embeddings": not header.has("output.weight"),
        "architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]],
        "dtype": torch.bfloat16,
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        values[f"{name}_token_id"] = header.metadata.get(f"tokenizer.ggml.{key}_token_id")
    shared_out = values["hidden_size"] // heads
    size = header.number("attention.key_length", header.number("rope.dimension_count", shared_out))
    if header.number("attention.value_length", size) != size or header.number("rope.dimension_count", size) != size:
        raise ConfigurationUnknown("heads whose keys are rotated in part, or sized otherwise than values")
    if model_type != "qwen2":
        values["head_dim"] = size
    elif size != shared_out:
        raise ConfigurationUnknown("heads of another size than their share of the hidden size")
    if arch in _GEMMAS:
        values["sliding_window"] = header.number("attention.sliding_window", _WINDOWS.get(arch))
        values |= {cap: header.metadata[f"{arch}.{cap}"] for cap in _CAPS if f"{arch}.{cap}" in header.metadata}
        values["query_pre_attn_scalar"] = shared_out if layers == _LAYERS_OF_27B[arch] else size
    values |= _layer_types(header, layers)
    rope = _rope(header)
    if arch == "gemma3":
        local = float(header.metadata.get(f"{arch}.rope.freq_base_swa", _LOCAL_BASE))
        rope = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": local}}
    values["rope_parameters"] = rope
    config: PretrainedConfig = CONFIG_MAPPING[model_type](**values)
    if header.has(ROPE_FACTORS):
        config.rope_parameters = _llama_3(header, config)
    return config


def _layer_types(header: GgufHeader, layers: int) -> dict[str, list[str]]:
    """Returns which layers have a window, where the file says so: each, or that each nth has none."""
    pattern = header.metadata.get(f"{header.architecture}.attention.sliding_window_pattern")
    if pattern is None:
        return {}
    windowed = pattern if isinstance(pattern, list) else [(number + 1) % pattern != 0 for number in range(layers)]
    return {"layer_types": ["sliding_attention" if one else "full_attention" for one in windowed]}


def _rope(header: GgufHeader) -> dict[str, Any]:
    def said(key: str, default: object = None) -> Any:
        return header.metadata.get(f"{header.architecture}.rope.{key}", default)

    rope = {"rope_theta": float(said("freq_base", 10_000.0))}
    method, factor, original = (said(f"scaling.{key}") for key in ("type", "factor", "original_context_length"))
    method = method or "none"
    if method == "none":
        return {"rope_type": "default", **rope}
    if method == "linear" and factor is not None:
        return {"rope_type": "linear", "factor": float(factor), **rope}
    if method == "yarn" and factor is not None and original is not None:
        lengths = {"factor": float(factor), "original_max_position_embeddings": int(original)}
        return {"rope_type": "yarn", **lengths, **rope}
    how_much = ", not saying by how much," if method in {"linear", "yarn"} else ""
    raise ConfigurationUnknown(f"a rotation that is scaled by {method}{how_much}")


def _llama_3(header: GgufHeader, config: PretrainedConfig) -> dict[str, Any]:
    """Returns the rotation whose frequencies the file divides by numbers of its own."""
    place = header.tensor(ROPE_FACTORS)
    factors = np.fromfile(header.file, dtype=np.float32, offset=place.offset, count=place.bytes // 4)
    base = config.rope_parameters["rope_theta"]
    rope = {"rope_type": "llama3", "rope_theta": base, "factor": float(factors.max()), **_LLAMA_3}
    config.rope_parameters = rope
    compute: Callable[..., tuple[torch.Tensor, float]] = ROPE_INIT_FUNCTIONS["llama3"]
    ours, _ = compute(config, torch.device("cpu"))
    plain = base ** (-np.arange(0, 2 * len(factors), 2) / (2 * len(factors)))
    if len(ours) != len(factors) or not np.allclose(ours.numpy(), plain / factors, rtol=_CLOSE, atol=0):
        raise ConfigurationUnknown("a rotation whose frequencies are divided otherwise than Llama 3's")
    return rope
