"""The slim decoder's weights, read from a Hugging Face model folder: linears that share their input are made one."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from services.inference.engine.block_file import BlockFile, has_blocks
from services.inference.engine.block_weights import DecoderBlocks, LayerBlocks, block_linear, joined, quantized
from services.inference.engine.linear import Linear

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.inference.engine.block_weights import Bits, BlockLinear, Blocks
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
    blocks: DecoderBlocks | None
    """The linears once more, in blocks, where they were asked for."""


class WeightsDamaged(Exception):
    """A tensor is missing or not of its shape."""


def read_weights(
    folder: Path,
    config: DecoderConfig,
    dtype: torch.dtype,
    block_bits: Bits | None = None,
    reach: Callable[[int, int], None] | None = None,
) -> DecoderWeights:
    """Reads a folder's safetensors.

    Args:
        folder: Where they are.
        config: The model's.
        dtype: What weights are held in.
        block_bits: What all linears but the head are held in besides, as blocks; the head always in 8 bits. Where the
            folder has blocks of its own, of 4 bits, they are taken as they are.
        reach: Told how many bytes of how many have been read, each time there are more.

    Raises:
        WeightsDamaged: The folder lacks a tensor.
        OSError, ValueError, safetensors.SafetensorError: A file cannot be read.
    """
    with ExitStack() as stack:
        return _Reader(folder, config, dtype, stack, block_bits=block_bits, reach=reach).read()


@dataclass(frozen=True, slots=True)
class _TakenLinear:
    plain: Linear
    blocks: BlockLinear | None


class _Reader:
    def __init__(
        self,
        folder: Path,
        config: DecoderConfig,
        dtype: torch.dtype,
        stack: ExitStack,
        *,
        block_bits: Bits | None,
        reach: Callable[[int, int], None] | None,
    ) -> None:
        self._config = config
        self._block_bits = block_bits
        self._stored = BlockFile(folder, stack) if block_bits == 4 and has_blocks(folder) else None
        self._dtype = dtype
        self._parameters = 0
        self._reach = reach
        self._read_bytes = self._file_bytes = 0
        self._files = {}
        for name in _file_names(folder):
            self._file_bytes += (folder / name).stat().st_size
            file = stack.enter_context(safe_open(folder / name, framework="pt"))
            self._files.update(dict.fromkeys(file.keys(), file))

    def read(self) -> DecoderWeights:
        hidden = self._config.hidden_size
        embedding = self._take("model.embed_tokens.weight", (-1, hidden))
        head = embedding if self._config.tied_head else self._take("lm_head.weight", tuple(embedding.shape))
        # What takes longest comes before the layers, so that the share that is told does not stand still at its end.
        head_blocks = block_linear(quantized(head, 8)) if self._block_bits is not None else None
        layers = [self._read_layer(f"model.layers.{n}.") for n in range(self._config.layers)]
        norm = self._take_norm("model.norm", hidden)
        blocks = None
        if head_blocks is not None:
            blocks = DecoderBlocks(tuple(linear for _, linear in layers if linear is not None), head_blocks)
        return DecoderWeights(
            embedding, tuple(layer for layer, _ in layers), norm, Linear(head), self._parameters, blocks
        )

    def _read_layer(self, name: str) -> tuple[LayerWeights, LayerBlocks | None]:
        config = self._config
        hidden, size, intermediate = config.hidden_size, config.head_size, config.intermediate_size
        queries, keys = config.heads * size, config.kv_heads * size
        attention, mlp = f"{name}self_attn.", f"{name}mlp."
        before_mlp = "pre_feedforward_layernorm" if config.norms_after else "post_attention_layernorm"
        heads_normed = f"{attention}q_norm.weight" in self._files
        qkv = self._take_linear([f"{attention}{x}_proj" for x in "qkv"], [queries, keys, keys], hidden)
        attention_out = self._take_linear([f"{attention}o_proj"], [hidden], queries)
        gate_up = self._take_linear([f"{mlp}gate_proj", f"{mlp}up_proj"], [intermediate, intermediate], hidden)
        down = self._take_linear([f"{mlp}down_proj"], [hidden], intermediate)
        layer = LayerWeights(
            attention_norm=self._take_norm(f"{name}input_layernorm", hidden),
            qkv=qkv.plain,
            query_norm=self._take_norm(f"{attention}q_norm", size) if heads_normed else None,
            key_norm=self._take_norm(f"{attention}k_norm", size) if heads_normed else None,
            attention_out=attention_out.plain,
            attention_after_norm=(
                self._take_norm(f"{name}post_attention_layernorm", hidden) if config.norms_after else None
            ),
            mlp_norm=self._take_norm(f"{name}{before_mlp}", hidden),
            gate_up=gate_up.plain,
            down=down.plain,
            mlp_after_norm=(
                self._take_norm(f"{name}post_feedforward_layernorm", hidden) if config.norms_after else None
            ),
        )
        linears = (qkv.blocks, attention_out.blocks, gate_up.blocks, down.blocks)
        return layer, LayerBlocks(*(linear for linear in linears if linear is not None)) if all(linears) else None

    def _take_linear(self, names: list[str], outputs: list[int], inputs: int) -> _TakenLinear:
        weights = [self._take(f"{n}.weight", (rows, inputs)) for n, rows in zip(names, outputs, strict=True)]
        bias = None
        if any(f"{name}.bias" in self._files for name in names):
            bias = torch.cat(
                [
                    self._take(f"{name}.bias", (len(weight),))
                    if f"{name}.bias" in self._files
                    else torch.zeros(len(weight), dtype=self._dtype)
                    for name, weight in zip(names, weights, strict=True)
                ]
            )
        plain = Linear(torch.cat(weights), bias)
        if self._block_bits is None:
            return _TakenLinear(plain, None)
        blocks = self._blocks(names, weights, self._block_bits)
        return _TakenLinear(plain, block_linear(blocks, bias, alternate=len(names) == 2))

    def _blocks(self, names: list[str], weights: list[torch.Tensor], bits: Bits) -> Blocks:
        if self._stored is None:
            return quantized(torch.cat(weights), bits)
        stored = [self._stored.take(f"{name}.weight") for name in names]
        if any(part is None for part in stored):
            # The file holds more than 4 bits of them: so do 8.
            return quantized(torch.cat(weights), 8)
        return joined([part for part in stored if part is not None])

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
        return tensor.to(self._dtype)


def _file_names(folder: Path) -> list[str]:
    if (folder / _SINGLE).exists():
        return [_SINGLE]
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return sorted(set(index["weight_map"].values()))
