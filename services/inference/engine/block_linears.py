"""A decoder's linears in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from services.inference.engine.block_forms import TILE_OUTPUTS
from services.inference.engine.block_packing import pack

if TYPE_CHECKING:
    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_weights import Blocks
    from services.inference.engine.weight_room import WeightRoom


@dataclass(frozen=True, slots=True)
class BlockLinear:
    """A linear as the compiled step reads it."""

    form: Form
    weights: torch.Tensor
    """As `pack` returns them."""
    bias: torch.Tensor
    """Float, one an output, outputs made a multiple of 16."""


@dataclass(frozen=True, slots=True)
class LayerBlocks:
    """The linears of one layer."""

    qkv: BlockLinear
    attention_out: BlockLinear
    gate_up: BlockLinear
    """16 outputs of the gate alternate with 16 of what it lets through."""
    down: BlockLinear


@dataclass(frozen=True, slots=True)
class DecoderBlocks:
    """All linears of a decoder."""

    layers: tuple[LayerBlocks, ...]
    head: BlockLinear

    @property
    def forms(self) -> frozenset[Form]:
        """Of weights: as many as there are."""
        return frozenset(linear.form for linear in self._linears())

    @property
    def bytes(self) -> int:
        """What the packed weights take."""
        return sum(linear.weights.nbytes for linear in self._linears())

    def _linears(self) -> list[BlockLinear]:
        linears = [self.head]
        for layer in self.layers:
            linears += [layer.qkv, layer.attention_out, layer.gate_up, layer.down]
        return linears


def block_linear(
    blocks: Blocks, room: WeightRoom, bias: torch.Tensor | None = None, *, alternate: bool = False
) -> BlockLinear:
    """Packs a matrix.

    Args:
        blocks: The matrix.
        room: Where it is put.
        bias: Shape `(outputs,)`.
        alternate: Have 16 outputs of the first half and 16 of the second take turns.
    """
    outputs = len(blocks.codes)
    order = torch.arange(outputs).view(2, -1, TILE_OUTPUTS).transpose(0, 1).flatten() if alternate else None
    filled = torch.zeros(-(-outputs // TILE_OUTPUTS) * TILE_OUTPUTS)
    if bias is not None:
        filled[:outputs] = bias.float() if order is None else bias.float()[order]
    return BlockLinear(blocks.form, pack(blocks, room, order), filled)
