"""The slim decoder's weights: linears that share their input are one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from services.inference.engine.token_table import TokenTable

if TYPE_CHECKING:
    from services.inference.engine.linear import Linear

EmbeddingT = TypeVar("EmbeddingT", torch.Tensor, TokenTable)


@dataclass(frozen=True, slots=True)
class LayerNorms:
    """One layer's norms, of shape `(hidden_size,)`; those of queries and keys `(head_size,)`."""

    attention: torch.Tensor
    query: torch.Tensor | None
    key: torch.Tensor | None
    after_attention: torch.Tensor | None
    mlp: torch.Tensor
    after_mlp: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class LayerLinears:
    """One layer's linears."""

    qkv: Linear
    """Outputs: all heads of the queries, then of the keys, then of the values."""
    attention_out: Linear
    gate_up: Linear
    """Outputs: the gate, then what it lets through."""
    down: Linear


@dataclass(frozen=True, slots=True)
class DecoderLinears:
    """All linears of a decoder, in one dtype."""

    layers: tuple[LayerLinears, ...]
    head: Linear
    """From the last hidden state to logits."""


@dataclass(frozen=True, slots=True)
class DecoderWeights(Generic[EmbeddingT]):
    """All weights of a decoder but its linears, in one dtype on one device."""

    embedding: EmbeddingT
    """Shape `(vocabulary, hidden_size)`, or a table of that."""
    layers: tuple[LayerNorms, ...]
    norm: torch.Tensor
    parameters: int
    """Of the whole decoder."""


class WeightsDamaged(Exception):
    """A tensor is missing or not of its shape."""
