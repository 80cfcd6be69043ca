"""The slim decoder's weights, read from a model's folder: linears that share their input are made one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import torch

from services.inference.engine.block_forms import FORMS
from services.inference.engine.block_weights import (
    HELD_BY_8_BITS,
    DecoderBlocks,
    LayerBlocks,
    block_linear,
    in_8_bits,
    joined,
    quantized,
    unpacked_rows,
)
from services.inference.engine.key_balance import balancing_factors
from services.inference.engine.linear import Linear
from services.inference.engine.token_table import PackedTable, TokenTable
from services.inference.engine.weight_room import WeightRoom

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_weights import BlockLinear, Blocks, Rounded
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.protocol import Device
    from services.inference.engine.weight_source import WeightSource

_FEWER_THAN_8 = {form for form, facts in FORMS.items() if facts.bits < 8}
_EMBEDDING = "model.embed_tokens.weight"


EmbeddingT = TypeVar("EmbeddingT", torch.Tensor, TokenTable)
LinearT = TypeVar("LinearT")


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


def read_linears(
    source: WeightSource,
    config: DecoderConfig,
    dtype: torch.dtype,
    reach: Callable[[int, int], None] | None = None,
    device: Device = "cpu",
) -> tuple[DecoderWeights[torch.Tensor], DecoderLinears]:
    """Reads weights.

    Args:
        source: Where they are.
        config: The model's.
        dtype: What weights are held in.
        reach: Told how many bytes of how many have been read, each time there are more.
        device: Where they are held.

    Raises:
        WeightsDamaged: A tensor is missing or not of its shape.
        OSError, ValueError, KeyError, safetensors.SafetensorError: A file cannot be read.
    """

    def make(parts: _Parts) -> Linear:
        return Linear(torch.cat(parts.weights()), parts.bias())

    reader = _Reader(source, config, _Place(dtype, device), reach)
    embedding = reader.take(reader.find_embedding())
    head = Linear(embedding) if config.tied_head else make(reader.head())
    layers = reader.layers(make)
    linears = tuple(LayerLinears(*layer) for _, layer in layers)
    return reader.weights(embedding, [norms for norms, _ in layers]), DecoderLinears(linears, head)


def read_blocks(
    source: WeightSource,
    config: DecoderConfig,
    dtype: torch.dtype,
    bits: Rounded,
    reach: Callable[[int, int], None] | None = None,
) -> tuple[DecoderWeights[TokenTable], DecoderBlocks]:
    """Reads weights, all linears as blocks.

    Args:
        source: Where they are.
        config: The model's.
        dtype: What the embedding and the norms are held in.
        bits: Of the linears' weights, but for the head, which has 8. Blocks that they are stored in are taken as they
            are: of 4 to 6 bits where 4 are asked for, of 5 to 8 where 8 are; those of 8 also where others have fewer.
        reach: As for `read_linears`.

    Raises:
        WeightsDamaged, OSError, ValueError, KeyError, safetensors.SafetensorError: As for `read_linears`.
    """
    reader = _Reader(source, config, _Place(dtype, "cpu"), reach)
    room = WeightRoom()
    # Where some are in few bits, the others were to have more: so they do here.
    few = any(source.form_of(name) in _FEWER_THAN_8 for name in source.names)
    most: Rounded = 8 if few else bits

    def make(parts: _Parts) -> BlockLinear:
        blocks = parts.blocks(_taken(bits, most)) or quantized(torch.cat(parts.weights()), most)
        bias = parts.bias()
        if bias is not None and parts.names[0].endswith("q_proj") and not config.heads_normed:
            factors = balancing_factors(config, parts.weights(), bias)
            blocks, bias = blocks.scaled(factors), bias * factors
        return block_linear(blocks, room, bias, alternate=len(parts.names) == 2)

    name = reader.find_embedding()
    # What takes longest comes before the layers, so that the share that is told does not stand still at its end.
    head = reader.head()
    head_blocks = head.blocks(_taken(bits, 8))
    head_linear = block_linear(head_blocks or quantized(torch.cat(head.weights()), 8), room)
    if config.tied_head and head_blocks is not None:
        embedding = _rows_of(head_linear, source.shape(name), dtype)
    else:
        embedding = source.take_table(name, dtype)
    # Not needed any more, and a large part of what is held meanwhile.
    del head_blocks
    layers = reader.layers(make)
    linears = tuple(LayerBlocks(*layer) for _, layer in layers)
    return reader.weights(embedding, [norms for norms, _ in layers]), DecoderBlocks(linears, head_linear)


def _rows_of(head: BlockLinear, shape: tuple[int, ...], dtype: torch.dtype) -> TokenTable:
    """Returns the embedding that a head is as well."""
    vocabulary, hidden_size = shape
    weights, form = head.weights, head.form
    return PackedTable((vocabulary, hidden_size), dtype, lambda rows: unpacked_rows(weights, form, rows).dequantized())


def _taken(bits: Rounded, most: Rounded) -> set[Form]:
    """Returns which blocks are taken as they are, where at least `bits` are asked for and others get `most`."""
    least = 4 if bits == 4 else 5
    return {form for form, facts in FORMS.items() if least <= facts.bits <= (8 if most == 8 else 6)}


_Layer: TypeAlias = tuple[LayerNorms, tuple[LinearT, LinearT, LinearT, LinearT]]


@dataclass(frozen=True, slots=True)
class _Place:
    """What is read is held so."""

    dtype: torch.dtype
    device: Device


@dataclass(frozen=True, slots=True)
class _Parts:
    """Linears that share their input and become one."""

    reader: _Reader
    names: tuple[str, ...]
    outputs: tuple[int, ...]

    def weights(self) -> list[torch.Tensor]:
        """Returns the weights of each."""
        return [self.reader.take(f"{name}.weight") for name in self.names]

    def bias(self) -> torch.Tensor | None:
        """Returns the bias of all; None where none has one."""
        if not any(self.reader.has(f"{name}.bias") for name in self.names):
            return None
        return torch.cat(
            [
                self.reader.take(f"{name}.bias") if self.reader.has(f"{name}.bias") else self.reader.nothing(outputs)
                for name, outputs in zip(self.names, self.outputs, strict=True)
            ]
        )

    def blocks(self, of: set[Form]) -> Blocks | None:
        """Returns all in the blocks they are stored in; None where one is not in these forms, or they cannot be joined.

        Those of different forms become Q8_0, where that changes no weight.
        """
        matrices = [f"{name}.weight" for name in self.names]
        found = {self.reader.source.form_of(name) for name in matrices}
        if not found <= of or (len(found) > 1 and not found <= HELD_BY_8_BITS):
            return None
        parts = [self.reader.source.take_blocks(name) for name in matrices]
        return joined(parts if len(found) == 1 else [in_8_bits(part) for part in parts])


class _Reader:
    def __init__(
        self,
        source: WeightSource,
        config: DecoderConfig,
        place: _Place,
        reach: Callable[[int, int], None] | None,
    ) -> None:
        self.source = source
        self._config = config
        self._place = place
        self._parameters = 0
        self._reach = reach
        self._read_bytes = 0

    def find_embedding(self) -> str:
        """Returns the embedding's name."""
        self._find(_EMBEDDING, (-1, self._config.hidden_size))
        return _EMBEDDING

    def head(self) -> _Parts:
        """Returns the head."""
        vocabulary, hidden = self.source.shape(_EMBEDDING)
        if self._config.tied_head:
            return _Parts(self, (_EMBEDDING.removesuffix(".weight"),), (vocabulary,))
        return self._parts(("lm_head",), (vocabulary,), hidden)

    def layers(self, make: Callable[[_Parts], LinearT]) -> list[_Layer[LinearT]]:
        """Reads all layers.

        Args:
            make: Makes one linear of several.
        """
        return [self._layer(f"model.layers.{number}.", make) for number in range(self._config.layers)]

    def weights(self, embedding: EmbeddingT, layers: list[LayerNorms]) -> DecoderWeights[EmbeddingT]:
        """Returns all but the linears, which have been read."""
        norm = self._norm("model.norm", self._config.hidden_size)
        return DecoderWeights(embedding, tuple(layers), norm, self._parameters)

    def has(self, name: str) -> bool:
        """Whether there is such a weight."""
        return name in self.source.names

    def take(self, name: str) -> torch.Tensor:
        """Returns a weight."""
        return self.source.take(name, self._place.dtype).to(self._place.device)

    def nothing(self, size: int) -> torch.Tensor:
        """Returns a vector of zeros."""
        return torch.zeros(size, dtype=self._place.dtype, device=self._place.device)

    def _layer(self, name: str, make: Callable[[_Parts], LinearT]) -> _Layer[LinearT]:
        config = self._config
        hidden, size, intermediate = config.hidden_size, config.head_size, config.intermediate_size
        queries, keys = config.heads * size, config.kv_heads * size
        attention, mlp = f"{name}self_attn.", f"{name}mlp."
        before_mlp = "pre_feedforward_layernorm" if config.norms_after else "post_attention_layernorm"
        heads_normed = self.has(f"{attention}q_norm.weight")
        norms = LayerNorms(
            attention=self._norm(f"{name}input_layernorm", hidden),
            query=self._norm(f"{attention}q_norm", size) if heads_normed else None,
            key=self._norm(f"{attention}k_norm", size) if heads_normed else None,
            after_attention=(self._norm(f"{name}post_attention_layernorm", hidden) if config.norms_after else None),
            mlp=self._norm(f"{name}{before_mlp}", hidden),
            after_mlp=(self._norm(f"{name}post_feedforward_layernorm", hidden) if config.norms_after else None),
        )
        qkv = (f"{attention}q_proj", f"{attention}k_proj", f"{attention}v_proj")
        linears = (
            make(self._parts(qkv, (queries, keys, keys), hidden)),
            make(self._parts((f"{attention}o_proj",), (hidden,), queries)),
            make(self._parts((f"{mlp}gate_proj", f"{mlp}up_proj"), (intermediate, intermediate), hidden)),
            make(self._parts((f"{mlp}down_proj",), (hidden,), intermediate)),
        )
        return norms, linears

    def _parts(self, names: tuple[str, ...], outputs: tuple[int, ...], inputs: int) -> _Parts:
        for name, rows in zip(names, outputs, strict=True):
            self._find(f"{name}.weight", (rows, inputs))
            if self.has(f"{name}.bias"):
                self._find(f"{name}.bias", (rows,))
        return _Parts(self, names, outputs)

    def _norm(self, name: str, size: int) -> torch.Tensor:
        self._find(f"{name}.weight", (size,))
        weight = self.take(f"{name}.weight")
        return 1.0 + weight.float() if self._config.norms_from_one else weight

    def _find(self, name: str, shape: tuple[int, ...]) -> None:
        """Notes that a weight is there, of a shape."""
        found = self.source.shape(name) if self.has(name) else ()
        if len(found) != len(shape) or any(want not in {-1, is_} for want, is_ in zip(shape, found, strict=True)):
            raise WeightsDamaged
        self._parameters += prod(found)
        self._read_bytes += self.source.stored_bytes(name)
        if self._reach is not None:
            self._reach(self._read_bytes, self.source.total_bytes)
