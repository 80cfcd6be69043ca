"""Writes `.gguf` files as llama.cpp's converter does, with the package of those who define the format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedModel

_ARCHITECTURES = {"gemma3_text": "gemma3"}
_GEMMAS = {"gemma2", "gemma3_text"}


def architecture_of(model: PreTrainedModel) -> str:
    """Ggml's name of a model's."""
    return _ARCHITECTURES.get(model.config.model_type, model.config.model_type)


def write_model(
    file: Path,
    model: PreTrainedModel,
    *,
    kind: str = "F32",
    values: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    merges: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
) -> None:
    """Writes a model of a family that has a decoder of its own here.

    Args:
        file: Where to.
        model: What.
        kind: Type of its matrices; vectors are fp32.
        values: More to note, or otherwise, of the architecture: `rope.scaling.type`.
        tensors: More of them.
        merges: More of its vocabulary's.
        left_out: What is not noted.
    """
    arch, config = architecture_of(model), model.config
    writer = GGUFWriter(file, arch)
    noted: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": _base(config),
    }
    size = getattr(config, "head_dim", None)
    if size is not None:
        noted |= {"attention.key_length": size, "attention.value_length": size}
        if arch == "llama":
            noted["rope.dimension_count"] = size
    if config.model_type in _GEMMAS:
        noted["attention.sliding_window"] = config.sliding_window
    for name in noted.keys() & set(left_out):
        del noted[name]
    for name, value in {**noted, **(values or {})}.items():
        _add(writer, f"{arch}.{name}", value)
    _add_vocabulary(writer, config.vocab_size, merges)
    names = gguf.get_tensor_name_map(
        next(one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == arch), config.num_hidden_layers
    )
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    for name, weight in model.state_dict().items():
        if name not in tied:
            theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
            writer.add_tensor(theirs, *_as_kind(_as_ggml_has_it(model, name, weight.float()).numpy(), kind))
    for name, array in (tensors or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _base(config: Any) -> float:
    parameters = config.rope_parameters
    return float(parameters.get("full_attention", parameters)["rope_theta"])


def _add(writer: GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)


def _add_vocabulary(writer: GGUFWriter, size: int, merges: tuple[str, ...]) -> None:
    """Bytes, as a byte-level vocabulary spells them, then words, the last of which ends a reply."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, letters[0] + letters[1], *(f"word{number}" for number in range(size))][: size - 1]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*words, "<|end|>"])
    writer.add_token_types([*[gguf.TokenType.NORMAL] * (size - 1), gguf.TokenType.CONTROL])
    writer.add_token_merges([f"{letters[0]} {letters[1]}", *merges])
    writer.add_eos_token_id(size - 1)
    writer.add_chat_template("{% for message in messages %}{{ message.content }}<|end|>{% endfor %}")


def _as_ggml_has_it(model: PreTrainedModel, name: str, weight: torch.Tensor) -> torch.Tensor:
    config = model.config
    if config.model_type == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        # Halves of a head to pairs, row by row.
        return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
    return weight + 1 if config.model_type in _GEMMAS and name.endswith("norm.weight") else weight


def _as_kind(weight: np.ndarray, kind: str) -> tuple[np.ndarray, tuple[int, ...] | None, GGMLQuantizationType | None]:
    if weight.ndim == 1 or kind == "F32":
        return np.ascontiguousarray(weight), None, None
    written = GGMLQuantizationType[kind]
    return gguf.quants.quantize(weight, written), None, written
