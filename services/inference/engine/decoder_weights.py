"""The slim decoder's weights, read from a Hugging Face model folder: linears that share their input are made one."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors import safe_open

from services.inference.engine.block_file import BlockFile
from services.inference.engine.block_weights import DecoderBlocks, LayerBlocks, block_linear, joined, quantized
from services.inference.engine.key_balance import balancing_factors
from services.inference.engine.linear import Linear
from services.inference.engine.weight_room import WeightRoom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.inference.engine.block_weights import Bits, BlockLinear, Blocks, Rounded
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.protocol import Device

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


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
class DecoderWeights:
    """All weights of a decoder but its linears, in one dtype on one device."""

    embedding: torch.Tensor
    """Shape `(vocabulary, hidden_size)`."""
    layers: tuple[LayerNorms, ...]
    norm: torch.Tensor
    parameters: int
    """Of the whole decoder."""


class WeightsDamaged(Exception):
    """A tensor is missing or not of its shape."""


def read_linears(
    folder: Path,
    config: DecoderConfig,
    dtype: torch.dtype,
    reach: Callable[[int, int], None] | None = None,
    device: Device = "cpu",
) -> tuple[DecoderWeights, DecoderLinears]:
    """Reads a folder's safetensors.

    Args:
        folder: Where they are.
        config: The model's.
        dtype: What weights are held in.
        reach: Told how many bytes of how many have been read, each time there are more.
        device: Where they are held.

    Raises:
        WeightsDamaged: The folder lacks a tensor.
        OSError, ValueError, safetensors.SafetensorError: A file cannot be read.
    """
    with ExitStack() as stack:
        reader = _Reader(folder, config, _Place(dtype, device), stack, reach)
        embedding, head = reader.ends()
        layers = reader.layers(lambda _, weights, bias: Linear(torch.cat(weights), bias))
        linears = tuple(LayerLinears(*layer) for _, layer in layers)
        return reader.weights(embedding, [norms for norms, _ in layers]), DecoderLinears(linears, Linear(head))


def read_blocks(
    folder: Path,
    config: DecoderConfig,
    dtype: torch.dtype,
    bits: Rounded,
    reach: Callable[[int, int], None] | None = None,
) -> tuple[DecoderWeights, DecoderBlocks]:
    """Reads a folder's safetensors, all linears as blocks.

    Args:
        folder: Where they are.
        config: The model's.
        dtype: What the embedding and the norms are held in.
        bits: Of the linears' weights, but for the head, which has 8. Where the folder has blocks of its own that have
            no more, or 6 instead of 8, they are taken as they are.
        reach: As for `read_linears`.

    Raises:
        WeightsDamaged, OSError, ValueError, safetensors.SafetensorError: As for `read_linears`.
    """
    with ExitStack() as stack:
        reader = _Reader(folder, config, _Place(dtype, "cpu"), stack, reach)
        stored = BlockFile(folder, stack)
        embedding, head = reader.ends()
        # What takes longest comes before the layers, so that the share that is told does not stand still at its end.
        room = WeightRoom()
        head_blocks = block_linear(_stored_blocks(stored, [reader.head], bits) or quantized(head, 8), room)

        def make(names: list[str], weights: list[torch.Tensor], bias: torch.Tensor | None) -> BlockLinear:
            blocks = _stored_blocks(stored, names, bits)
            if blocks is None:
                # Where there are others, the file holds more of these than 4 bits: so do 8.
                blocks = quantized(torch.cat(weights), 8 if stored else bits)
            if bias is not None and names[0].endswith("q_proj") and not config.heads_normed:
                factors = balancing_factors(config, weights, bias)
                blocks, bias = blocks.scaled(factors), bias * factors
            return block_linear(blocks, room, bias, alternate=len(names) == 2)

        layers = reader.layers(make)
        linears = tuple(LayerBlocks(*layer) for _, layer in layers)
        return reader.weights(embedding, [norms for norms, _ in layers]), DecoderBlocks(linears, head_blocks)


def _stored_blocks(file: BlockFile, names: list[str], bits: Rounded) -> Blocks | None:
    """Returns a folder's own blocks of a linear, where it has the same form for all of its parts and bits allow it."""
    matrices = [f"{name}.weight" for name in names]
    found = {file.bits_of(matrix) for matrix in matrices}
    wanted: set[Bits] = {4, 6} if bits == 4 else {6}
    if len(found) != 1 or not found <= wanted:
        return None
    return joined([file.take(matrix) for matrix in matrices])


LinearT = TypeVar("LinearT")


@dataclass(frozen=True, slots=True)
class _Place:
    """What is read is held so."""

    dtype: torch.dtype
    device: Device


class _Reader:
    def __init__(
        self,
        folder: Path,
        config: DecoderConfig,
        place: _Place,
        stack: ExitStack,
        reach: Callable[[int, int], None] | None,
    ) -> None:
        self._config = config
        self._place = place
        self._parameters = 0
        self._reach = reach
        self._read_bytes = self._file_bytes = 0
        self._files = {}
        for name in _file_names(folder):
            self._file_bytes += (folder / name).stat().st_size
            file = stack.enter_context(safe_open(folder / name, framework="pt"))
            self._files.update(dict.fromkeys(file.keys(), file))

    @property
    def head(self) -> str:
        """Name of the head's linear."""
        return "model.embed_tokens" if self._config.tied_head else "lm_head"

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the embedding and the head."""
        embedding = self._take("model.embed_tokens.weight", (-1, self._config.hidden_size))
        head = embedding if self._config.tied_head else self._take(f"{self.head}.weight", tuple(embedding.shape))
        return embedding, head

    def layers(
        self, make: Callable[[list[str], list[torch.Tensor], torch.Tensor | None], LinearT]
    ) -> list[tuple[LayerNorms, tuple[LinearT, LinearT, LinearT, LinearT]]]:
        """Reads all layers.

        Args:
            make: Makes one linear of several that share their input: their names, weights and bias.
        """
        return [self._layer(f"model.layers.{number}.", make) for number in range(self._config.layers)]

    def weights(self, embedding: torch.Tensor, layers: list[LayerNorms]) -> DecoderWeights:
        """Returns all but the linears, which have been read."""
        norm = self._take_norm("model.norm", self._config.hidden_size)
        return DecoderWeights(embedding, tuple(layers), norm, self._parameters)

    def _layer(
        self, name: str, make: Callable[[list[str], list[torch.Tensor], torch.Tensor | None], LinearT]
    ) -> tuple[LayerNorms, tuple[LinearT, LinearT, LinearT, LinearT]]:
        config = self._config
        hidden, size, intermediate = config.hidden_size, config.head_size, config.intermediate_size
        queries, keys = config.heads * size, config.kv_heads * size
        attention, mlp = f"{name}self_attn.", f"{name}mlp."
        before_mlp = "pre_feedforward_layernorm" if config.norms_after else "post_attention_layernorm"
        heads_normed = f"{attention}q_norm.weight" in self._files
        norms = LayerNorms(
            attention=self._take_norm(f"{name}input_layernorm", hidden),
            query=self._take_norm(f"{attention}q_norm", size) if heads_normed else None,
            key=self._take_norm(f"{attention}k_norm", size) if heads_normed else None,
            after_attention=(
                self._take_norm(f"{name}post_attention_layernorm", hidden) if config.norms_after else None
            ),
            mlp=self._take_norm(f"{name}{before_mlp}", hidden),
            after_mlp=(self._take_norm(f"{name}post_feedforward_layernorm", hidden) if config.norms_after else None),
        )
        linears = (
            make(*self._take_linear([f"{attention}{x}_proj" for x in "qkv"], [queries, keys, keys], hidden)),
            make(*self._take_linear([f"{attention}o_proj"], [hidden], queries)),
            make(*self._take_linear([f"{mlp}gate_proj", f"{mlp}up_proj"], [intermediate, intermediate], hidden)),
            make(*self._take_linear([f"{mlp}down_proj"], [hidden], intermediate)),
        )
        return norms, linears

    def _take_linear(
        self, names: list[str], outputs: list[int], inputs: int
    ) -> tuple[list[str], list[torch.Tensor], torch.Tensor | None]:
        weights = [self._take(f"{n}.weight", (rows, inputs)) for n, rows in zip(names, outputs, strict=True)]
        if not any(f"{name}.bias" in self._files for name in names):
            return names, weights, None
        biases = [
            self._take(f"{name}.bias", (len(weight),))
            if f"{name}.bias" in self._files
            else torch.zeros(len(weight), dtype=self._place.dtype, device=self._place.device)
            for name, weight in zip(names, weights, strict=True)
        ]
        return names, weights, torch.cat(biases)

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
        self._read_bytes += tensor.nbytes
        if self._reach is not None:
            self._reach(self._read_bytes, self._file_bytes)
        return tensor.to(device=self._place.device, dtype=self._place.dtype)


def _file_names(folder: Path) -> list[str]:
    if (folder / _SINGLE).exists():
        return [_SINGLE]
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return sorted(set(index["weight_map"].values()))
