"""Reads a decoder's weights by the names that Hugging Face's class gives them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch

from services.inference.engine.block_weights import HELD_BY_8_BITS, in_8_bits, joined
from services.inference.engine.decoder_weights import DecoderWeights, LayerNorms, WeightsDamaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_weights import Blocks
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.decoder_weights import EmbeddingT
    from services.inference.engine.protocol import Device
    from services.inference.engine.weight_source import WeightSource

_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Place:
    """What is read is held so."""

    dtype: torch.dtype
    device: Device


@dataclass(frozen=True, slots=True)
class LinearParts:
    """Linears that share their input and become one."""

    reader: WeightReader
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


LinearT = TypeVar("LinearT")
Layer: TypeAlias = tuple[LayerNorms, tuple[LinearT, LinearT, LinearT, LinearT]]


class WeightReader:
    """Reads a decoder's weights by their names, and counts what it reads.

    Args:
        source: Where they are.
        config: The decoder's.
        place: How they are held.
        reach: Told how many bytes of how many have been read, each time there are more.
    """

    def __init__(
        self,
        source: WeightSource,
        config: DecoderConfig,
        place: Place,
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

    def head(self) -> LinearParts:
        """Returns the head."""
        vocabulary, hidden = self.source.shape(_EMBEDDING)
        if self._config.tied_head:
            return LinearParts(self, (_EMBEDDING.removesuffix(".weight"),), (vocabulary,))
        return self._parts(("lm_head",), (vocabulary,), hidden)

    def layers(self, make: Callable[[LinearParts], LinearT]) -> list[Layer[LinearT]]:
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

    def _layer(self, name: str, make: Callable[[LinearParts], LinearT]) -> Layer[LinearT]:
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

    def _parts(self, names: tuple[str, ...], outputs: tuple[int, ...], inputs: int) -> LinearParts:
        for name, rows in zip(names, outputs, strict=True):
            self._find(f"{name}.weight", (rows, inputs))
            if self.has(f"{name}.bias"):
                self._find(f"{name}.bias", (rows,))
        return LinearParts(self, names, outputs)

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
