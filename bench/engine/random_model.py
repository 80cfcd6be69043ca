"""`python -m bench.engine.random_model FILE.gguf`: writes a file of Gemma 3 1B's shape with random weights.

Its types are those of llama.cpp's Q4_K_M, which has Q5_0 and Q8_0 where rows are no multiple of 256 weights. How fast
it is does not hang on what the weights are; `bench.engine --model FILE.gguf --endless` measures it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, TokenType
from transformers.convert_slow_tokenizer import bytes_to_unicode

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SEED = 3
_SCALES = {"Q5_0": {0: 2**-9}, "Q8_0": {0: 2**-12}, "Q4_K": {0: 2**-14, 2: 2**-11}, "Q6_K": {208: 2**-16}}
"""Where fp16 scales are in a block, and about what makes weights as large as a model's."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Gemma 3."""

    hidden: int = 1152
    intermediate: int = 6912
    layers: int = 26
    heads: int = 4
    kv_heads: int = 1
    head_size: int = 256
    vocabulary: int = 262_144
    context: int = 32_768
    window: int = 512


def write(file: Path, shape: Shape) -> None:
    """Writes it."""
    writer = GGUFWriter(file, "gemma3")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_sliding_window(shape.window)
    _add_vocabulary(writer, shape.vocabulary)
    chance = np.random.default_rng(_SEED)

    def matrix(name: str, outputs: int, inputs: int, kind: str) -> None:
        data = _blocks(chance, outputs, inputs, kind if inputs % 256 == 0 else _without_k(kind))
        writer.add_tensor(name, data[0], raw_dtype=data[1])

    def norm(name: str, size: int) -> None:
        writer.add_tensor(name, (1 + 0.1 * chance.standard_normal(size)).astype(np.float32))

    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    matrix("token_embd.weight", shape.vocabulary, shape.hidden, "Q6_K")
    norm("output_norm.weight", shape.hidden)
    for number in range(shape.layers):
        layer = f"blk.{number}."
        finer = "Q6_K" if _is_finer(number, shape.layers) else "Q4_K"
        matrix(f"{layer}attn_q.weight", queries, shape.hidden, "Q4_K")
        matrix(f"{layer}attn_k.weight", keys, shape.hidden, "Q4_K")
        matrix(f"{layer}attn_v.weight", keys, shape.hidden, finer)
        matrix(f"{layer}attn_output.weight", shape.hidden, queries, "Q4_K")
        matrix(f"{layer}ffn_gate.weight", shape.intermediate, shape.hidden, "Q4_K")
        matrix(f"{layer}ffn_up.weight", shape.intermediate, shape.hidden, "Q4_K")
        matrix(f"{layer}ffn_down.weight", shape.hidden, shape.intermediate, finer)
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            norm(f"{layer}{name}.weight", shape.hidden)
        for name in ("attn_q_norm", "attn_k_norm"):
            norm(f"{layer}{name}.weight", shape.head_size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _is_finer(layer: int, layers: int) -> bool:
    """Whether llama.cpp gives a layer's values and last linear more bits: the first and last eighth, and each third."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _without_k(kind: str) -> str:
    """Returns what llama.cpp takes where a row is no multiple of 256 weights."""
    return {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}[kind]


def _blocks(
    chance: np.random.Generator, outputs: int, inputs: int, kind: str
) -> tuple[NDArray[np.uint8], GGMLQuantizationType]:
    written = GGMLQuantizationType[kind]
    values, size = GGML_QUANT_SIZES[written]
    data = chance.integers(0, 256, (outputs, inputs // values, size), dtype=np.uint8)
    for place, scale in _SCALES[kind].items():
        scales = (scale * chance.uniform(0.8, 1.2, (*data.shape[:2], 1))).astype(np.float16)
        data[..., place : place + 2] = scales.view(np.uint8)
    return data.reshape(outputs, -1), written


def _add_vocabulary(writer: GGUFWriter, size: int) -> None:
    """Bytes, one pair of them, and words that nobody says; the last ends a reply."""
    # The library gives it no types.
    spelling: Callable[[], dict[int, str]] = bytes_to_unicode
    letters = list(spelling().values())
    words = [*letters, letters[0] + letters[1], *(f"<{number}>" for number in range(size))][: size - 1]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*words, "<end>"])
    writer.add_token_types([*[TokenType.NORMAL] * (size - 1), TokenType.CONTROL])
    writer.add_token_merges([f"{letters[0]} {letters[1]}"])
    writer.add_bos_token_id(size - 1)
    writer.add_eos_token_id(size - 1)
    writer.add_add_bos_token(False)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].endswith(".gguf"):
        sys.exit("usage: python -m bench.engine.random_model FILE.gguf")
    write(Path(sys.argv[1]), Shape())
