"""Weights in blocks: along a row, 32 or 16 that share a scale, as GGUF files have them.

Three forms, by bits: with 4, a weight is `scale * code + zero` (`code` 0 to 15), which Q4_0, Q4_1 and Q4_K are; with 6
it is `scale * (code - 32)` where 16 share a scale, which Q6_K is; with 8 it is `scale * (code - 128)`, which Q8_0 is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from services.inference.engine.weight_room import WeightRoom

GROUP = 32
_HALF = 16
"""Weights of 6 bits that share a scale."""
_LANES = 16
_WEIGHTS_AT_ONCE = 2**18
"""Of a matrix that is gone through several times: what the nearest caches hold."""
Bits = Literal[4, 6, 8]
Rounded = Literal[4, 8]
"""What weights are rounded to here."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A weight matrix of shape `(outputs, inputs)`."""

    bits: Bits
    codes: torch.Tensor
    """8-bit integers without a sign, shape `(outputs, inputs)`."""
    scales: torch.Tensor
    """Shape `(outputs, inputs / 32)`, with 6 bits `(outputs, inputs / 16)`; the compiled step has them as fp16."""
    zeros: torch.Tensor | None
    """As scales, for 4 bits."""

    def rows(self, which: torch.Tensor | slice) -> Blocks:
        """Returns the matrix of some outputs, in the order given."""
        zeros = None if self.zeros is None else self.zeros[which]
        return Blocks(self.bits, self.codes[which], self.scales[which], zeros)

    def scaled(self, factors: torch.Tensor) -> Blocks:
        """Returns the matrix with each output times a power of two."""
        zeros = None if self.zeros is None else self.zeros * factors[:, None].to(self.zeros.dtype)
        return Blocks(self.bits, self.codes, self.scales * factors[:, None].to(self.scales.dtype), zeros)

    def dequantized(self) -> torch.Tensor:
        """Returns the matrix, fp32."""
        groups = split_last(self.codes, _HALF if self.bits == 6 else GROUP).float()
        if self.bits == 6:
            return ((groups - 32) * self.scales.float()[..., None]).flatten(-2)
        if self.zeros is None:
            return ((groups - 128) * self.scales.float()[..., None]).flatten(-2)
        return (groups * self.scales.float()[..., None] + self.zeros.float()[..., None]).flatten(-2)


def joined(parts: list[Blocks]) -> Blocks:
    """Returns one matrix of the outputs of several with equally many bits."""
    if len(parts) == 1:
        return parts[0]
    zeros = [part.zeros for part in parts if part.zeros is not None]
    return Blocks(
        parts[0].bits,
        torch.cat([part.codes for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat(zeros) if zeros else None,
    )


def quantized(weight: torch.Tensor, bits: Rounded) -> Blocks:
    """Rounds a matrix.

    With 8 bits a group's largest weight, whatever its sign, is the last code. With 4 bits codes are first spread evenly
    from its least weight to its greatest; scale and zero are then those of least squared error for these codes, which
    are chosen anew.
    """
    # In pieces, so that what is needed on the way is small beside the matrix.
    rows = max(1, _WEIGHTS_AT_ONCE // weight.shape[1])
    round_ = _rounded_to_8 if bits == 8 else _rounded_to_4
    parts = (weight[begin : begin + rows] for begin in range(0, len(weight), rows))
    return joined([round_(split_last(part.float(), GROUP)) for part in parts])


def _rounded_to_8(groups: torch.Tensor) -> Blocks:
    scales = (groups.abs().amax(dim=-1) / 127).half()
    # Rounded down, a scale can make the largest a little more than 127 times itself.
    codes = (groups / _divisor(scales.float())[..., None]).round_().clamp_(-127, 127).add_(128)
    return Blocks(8, codes.flatten(-2).to(torch.uint8), scales, None)


def _rounded_to_4(groups: torch.Tensor) -> Blocks:
    zeros, greatest = groups.aminmax(dim=-1)
    scales = (greatest - zeros) / 15
    codes = _codes(groups, scales, zeros)
    # The straight line through (code, weight) of least squares.
    sums, weights = codes.sum(dim=-1), groups.sum(dim=-1)
    spread = GROUP * codes.square().sum(dim=-1) - sums.square()
    slopes = (GROUP * (codes * groups).sum(dim=-1) - sums * weights) / _divisor(spread)
    scales = slopes.half()
    zeros = ((weights - slopes * sums) / GROUP).half()
    codes = _codes(groups, scales.float(), zeros.float())
    return Blocks(4, codes.flatten(-2).to(torch.uint8), scales, zeros)


def _codes(groups: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    return ((groups - zeros[..., None]) / _divisor(scales)[..., None]).round().clamp(0, 15)


def pack(blocks: Blocks, room: WeightRoom, order: torch.Tensor | None = None) -> torch.Tensor:
    """Lays a matrix out as the compiled step reads it: 16 outputs make a tile, as `kernels.weight_record` describes.

    Args:
        blocks: The matrix.
        room: Where it is put.
        order: Of its outputs, if it is to be another.

    Returns:
        Bytes, shape `(tiles, bytes of one)`, outputs made a multiple of 16.
    """
    outputs = len(blocks.codes)
    missing = -outputs % _LANES
    if missing:
        blocks = Blocks(
            blocks.bits,
            _lengthened(blocks.codes, missing),
            _lengthened(blocks.scales, missing),
            None if blocks.zeros is None else _lengthened(blocks.zeros, missing),
        )
    if order is not None:
        order = torch.cat((order, torch.arange(outputs, outputs + missing)))
    rows, inputs = blocks.codes.shape
    tiles = rows // _LANES
    numbers = 1 if blocks.bits == 8 else 2
    out = room.take(tiles, _LANES * inputs // GROUP * (GROUP * blocks.bits // 8 + 2 * numbers))
    at_once = max(1, _WEIGHTS_AT_ONCE // (_LANES * inputs))
    for begin in range(0, tiles, at_once):
        some = slice(begin * _LANES, (begin + at_once) * _LANES)
        out[begin : begin + at_once] = _packed(blocks.rows(some if order is None else order[some]))
    return out


def _packed(blocks: Blocks) -> torch.Tensor:
    if blocks.bits == 8:
        codes = _codes_bytes(_tiles(split_last(blocks.codes, GROUP // 4, 4)))
        return torch.cat((codes.flatten(1), _numbers_bytes(_tiles(blocks.scales)).flatten(1)), dim=1)
    # (tiles, groups, lanes, 8 inputs' quarters, halves, 4 inputs) to one byte of two halves
    halves = _tiles(split_last(blocks.codes & 15, GROUP // 8, 2, 4))
    lower = halves[..., 0, :] | (halves[..., 1, :] << 4)
    if blocks.zeros is not None:
        numbers = _numbers_bytes(_tiles(blocks.scales), _tiles(blocks.zeros))
        return torch.cat((numbers, _codes_bytes(lower)), dim=2).flatten(1)
    # (tiles, groups, lanes, halves, fours, 4 inputs) to one byte of four quarters
    fours = _tiles(split_last(blocks.codes >> 4, 2, 4, 4))
    upper = reduce(torch.bitwise_or, (fours[..., number, :] << 2 * number for number in range(4)))
    numbers = _numbers_bytes(*_tiles(split_last(blocks.scales, 2)).unbind(-1))
    return torch.cat((numbers, _codes_bytes(lower), _codes_bytes(upper)), dim=2).flatten(1)


def _codes_bytes(codes: torch.Tensor) -> torch.Tensor:
    """`(tiles, groups, lanes, vectors, 4 inputs)` to `(tiles, groups, bytes)`."""
    return codes.transpose(2, 3).flatten(2)


def _numbers_bytes(*numbers: torch.Tensor) -> torch.Tensor:
    """Numbers, each `(tiles, groups, lanes)`, to `(tiles, groups, bytes)`."""
    return torch.stack(numbers, dim=2).half().flatten(2).view(torch.uint8)


def split_last(values: torch.Tensor, *sizes: int) -> torch.Tensor:
    """Splits the last dimension: `(..., n * prod(sizes))` to `(..., n, *sizes)`."""
    return values.reshape(*values.shape[:-1], -1, *sizes)


def _tiles(values: torch.Tensor) -> torch.Tensor:
    """`(outputs, groups, ...)` to `(tiles, groups, 16, ...)`."""
    return values.reshape(-1, _LANES, *values.shape[1:]).transpose(1, 2)


def _lengthened(values: torch.Tensor, rows: int) -> torch.Tensor:
    return torch.cat((values, values.new_zeros((rows, *values.shape[1:]))))


def _divisor(scales: torch.Tensor) -> torch.Tensor:
    return torch.where(scales == 0, 1.0, scales)


@dataclass(frozen=True, slots=True)
class BlockLinear:
    """A linear as the compiled step reads it."""

    bits: Bits
    weights: torch.Tensor
    """As `packed` returns them."""
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
    def bits(self) -> frozenset[int]:
        """Of weights: as many kinds as there are."""
        return frozenset(linear.bits for linear in self._linears())

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
    order = torch.arange(outputs).view(2, -1, _LANES).transpose(0, 1).flatten() if alternate else None
    filled = torch.zeros(-(-outputs // _LANES) * _LANES)
    if bias is not None:
        filled[:outputs] = bias.float() if order is None else bias.float()[order]
    return BlockLinear(blocks.bits, pack(blocks, room, order), filled)
