"""Says which tensor of a `.gguf` file is which weight of a family that has a decoder of our own.

Names of tensors are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Two things lie otherwise in
a file than in Hugging Face's classes: Llama's queries and keys have the rows that rotate together side by side, and
Gemma's norms are one more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.engine.gguf_source import StoredTensor

if TYPE_CHECKING:
    from services.inference.engine.gguf_header import GgufHeader

ROPE_FACTORS = "rope_freqs.weight"
"""What each frequency of Llama 3's rotation is divided by: of the configuration, no weight."""
_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NORM_OF_MLP = {"ffn_norm": "post_attention_layernorm"}
_NORMS_OF_HEADS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_NORMS_AFTER = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_NAME = re.compile(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class _Family:
    layer: dict[str, str]
    biases: frozenset[str] = frozenset()
    """Of which linears."""
    pairs_together: bool = False
    raised_norms: bool = False


_FAMILIES = {
    "llama": _Family(_LAYER | _NORM_OF_MLP, pairs_together=True),
    "qwen2": _Family(_LAYER | _NORM_OF_MLP, biases=frozenset({"attn_q", "attn_k", "attn_v"})),
    "qwen3": _Family(_LAYER | _NORM_OF_MLP | _NORMS_OF_HEADS),
    "gemma2": _Family(_LAYER | _NORMS_AFTER, raised_norms=True),
    "gemma3": _Family(_LAYER | _NORMS_AFTER | _NORMS_OF_HEADS, raised_norms=True),
}


def find_weights(header: GgufHeader) -> dict[str, StoredTensor] | None:
    """Returns a file's weights, by the names of Hugging Face's class; None where it has others than those known."""
    family = _FAMILIES.get(header.architecture)
    if family is None:
        return None
    found: dict[str, StoredTensor] = {}
    for tensor in header.tensors:
        if tensor.name == ROPE_FACTORS:
            continue
        parts = _NAME.fullmatch(tensor.name)
        if parts is None:
            return None
        number, leaf, kind = parts.groups()
        ours = (_ENDS if number is None else family.layer).get(leaf)
        if ours is None or (kind == "bias" and leaf not in family.biases):
            return None
        layer = "" if number is None else f"model.layers.{number}."
        found[f"{layer}{ours}.{kind}"] = StoredTensor(
            tensor.kind,
            tensor.shape,
            tensor.offset,
            tensor.bytes,
            heads=_heads(header, leaf) if family.pairs_together else 0,
            raised=family.raised_norms and leaf.endswith("norm"),
        )
    return found


def _heads(header: GgufHeader, leaf: str) -> int:
    heads = header.number("attention.head_count")
    return {"attn_q": heads, "attn_k": header.number("attention.head_count_kv", heads)}.get(leaf, 0)
