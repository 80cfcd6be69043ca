"""The slim decoder's weights, read from a Hugging Face model folder: linears that share their input are made one."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from services.inference.engine.linear import Linear

if TYPE_CHECKING:
    from pathlib import Path

    from services.inference.engine.decoder_config import DecoderConfig

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. Norms are of shape `(hidden_size,)`, those of queries and keys `(head_size,)`."""

    attention_norm: torch.Tensor
    qkv: Linear
    """Outputs: all heads of the queries, then of the keys, then of the values."""
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    attention_out: Linear
    attention_after_norm: torch.Tensor | None
    mlp_norm: torch.Tensor
    gate_up: Linear
    """Outputs: the gate, then what it lets through."""
    down: Linear
    mlp_after_norm: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """All weights of a decoder, in one dtype on one device."""

    embedding: torch.Tensor
    """Shape `(vocabulary, hidden_size)`."""
    layers: tuple[LayerWeights, ...]
    norm: torch.Tensor
    head: Linear
    """From the last hidden state to logits."""
    parameters: int


class WeightsDamaged(Exception):
    """A tensor is missing or not of its shape."""


def read_weights(folder: Path, config: DecoderConfig, dtype: torch.dtype) -> DecoderWeights:
    """Reads a folder's safetensors.

    Raises:
        WeightsDamaged: The folder lacks a tensor.
        OSError, ValueError, safetensors.SafetensorError: A file cannot be read.
    """
    with ExitStack() as stack:
        return _Reader(folder, config, dtype, stack).read()


class _Reader:
    def __init__(self, folder: Path, config: DecoderConfig, dtype: torch.dtype, stack: ExitStack) -> None:
        self._config = config
        self._dtype = dtype
        self._parameters = 0
        self._files = {}
        for name in _file_names(folder):
            file = stack.enter_context(safe_open(folder / name, framework="pt"))
            self._files.update(dict.fromkeys(file.keys(), file))

    def read(self) -> DecoderWeights:
        hidden = self._config.hidden_size
        embedding = self._take("model.embed_tokens.weight", (-1, hidden))
        layers = tuple(self._read_layer(f"model.layers.{n}.") for n in range(self._config.layers))
        norm = self._take_norm("model.norm", hidden)
        head = embedding if self._config.tied_head else self._take("lm_head.weight", tuple(embedding.shape))
        return DecoderWeights(embedding, layers, norm, Linear(head), self._parameters)

    def _read_layer(self, name: str) -> LayerWeights:
        config = self._config
        hidden, size = config.hidden_size, config.head_size
        queries, keys = config.heads * size, config.kv_heads * size
        attention, mlp = f"{name}self_attn.", f"{name}mlp."
        before_mlp = "pre_feedforward_layernorm" if config.norms_after else "post_attention_layernorm"
        heads_normed = f"{attention}q_norm.weight" in self._files
        gate_up = self._take_linear([f"{mlp}gate_proj", f"{mlp}up_proj"], [-1, -1], hidden)
        return LayerWeights(
            attention_norm=self._take_norm(f"{name}input_layernorm", hidden),
            qkv=self._take_linear([f"{attention}{x}_proj" for x in "qkv"], [queries, keys, keys], hidden),
            query_norm=self._take_norm(f"{attention}q_norm", size) if heads_normed else None,
            key_norm=self._take_norm(f"{attention}k_norm", size) if heads_normed else None,
            attention_out=self._take_linear([f"{attention}o_proj"], [hidden], queries),
            attention_after_norm=(
                self._take_norm(f"{name}post_attention_layernorm", hidden) if config.norms_after else None
            ),
            mlp_norm=self._take_norm(f"{name}{before_mlp}", hidden),
            gate_up=gate_up,
            down=self._take_linear([f"{mlp}down_proj"], [hidden], gate_up.outputs // 2),
            mlp_after_norm=(
                self._take_norm(f"{name}post_feedforward_layernorm", hidden) if config.norms_after else None
            ),
        )

    def _take_linear(self, names: list[str], outputs: list[int], inputs: int) -> Linear:
        weights = [self._take(f"{n}.weight", (rows, inputs)) for n, rows in zip(names, outputs, strict=True)]
        if not any(f"{name}.bias" in self._files for name in names):
            return Linear(torch.cat(weights))
        biases = [
            self._take(f"{name}.bias", (len(weight),))
            if f"{name}.bias" in self._files
            else torch.zeros(len(weight), dtype=self._dtype)
            for name, weight in zip(names, weights, strict=True)
        ]
        return Linear(torch.cat(weights), torch.cat(biases))

    def _take_norm(self, name: str, size: int) -> torch.Tensor:
        weight = self._take(f"{name}.weight", (size,))
        return 1.0 + weight.float() if self._config.norms_from_one else weight

    def _take(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        if name not in self._files:
            raise WeightsDamaged
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        if tensor.dim() != len(shape) or any(
            want not in {-1, is_} for want, is_ in zip(shape, tensor.shape, strict=True)
        ):
            raise WeightsDamaged
        self._parameters += tensor.numel()
        return tensor.to(self._dtype)


def _file_names(folder: Path) -> list[str]:
    if (folder / _SINGLE).exists():
        return [_SINGLE]
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return sorted(set(index["weight_map"].values()))
