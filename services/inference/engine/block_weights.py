"""Weights in blocks (`block_forms`): what they stand for, rounding to them, and how the compiled step reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Literal

import torch

from services.inference.engine.block_forms import FORMS, GROUP, TILE_OUTPUTS, Form

if TYPE_CHECKING:
    from services.inference.engine.weight_room import WeightRoom

_HALF = GROUP // 2
_WEIGHTS_AT_ONCE = 2**18
"""Of a matrix that is gone through several times: what the nearest caches hold."""
Rounded = Literal[4, 8]
"""Bits of what weights are rounded to here: Q4_1 and Q8_0."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A weight matrix of shape `(outputs, inputs)`."""

    form: Form
    codes: torch.Tensor
    """8-bit integers without a sign, shape `(outputs, inputs)`."""
    scales: torch.Tensor
    """Shape `(outputs, inputs / 32)`, for Q6_K `(outputs, inputs / 16)`; the compiled step has them as fp16."""
    zeros: torch.Tensor | None = None
    """As scales, where the form has any."""

    def rows(self, which: torch.Tensor | slice) -> Blocks:
        """Returns the matrix of some outputs, in the order given."""
        zeros = None if self.zeros is None else self.zeros[which]
        return Blocks(self.form, self.codes[which], self.scales[which], zeros)

    def scaled(self, factors: torch.Tensor) -> Blocks:
        """Returns the matrix with each output times a power of two."""
        zeros = None if self.zeros is None else self.zeros * factors[:, None].to(self.zeros.dtype)
        return Blocks(self.form, self.codes, self.scales * factors[:, None].to(self.scales.dtype), zeros)

    def dequantized(self) -> torch.Tensor:
        """Returns the matrix, fp32."""
        facts = FORMS[self.form]
        groups = split_last(self.codes, _HALF if facts.halves else GROUP).float()
        scales = self.scales.float()[..., None]
        if self.zeros is not None:
            return (groups * scales + self.zeros.float()[..., None]).flatten(-2)
        return ((groups - (facts.centre or 0)) * scales).flatten(-2)


def joined(parts: list[Blocks]) -> Blocks:
    """Returns one matrix of the outputs of several of one form."""
    if len(parts) == 1:
        return parts[0]
    zeros = [part.zeros for part in parts if part.zeros is not None]
    return Blocks(
        parts[0].form,
        torch.cat([part.codes for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat(zeros) if zeros else None,
    )


HELD_BY_8_BITS: set[Form] = {form for form, facts in FORMS.items() if facts.numbers == 1}
"""Forms of weights that Q8_0 has as well."""


def in_8_bits(blocks: Blocks) -> Blocks:
    """Returns the same weights as Q8_0, for a form of `HELD_BY_8_BITS`."""
    return replace(blocks, form="Q8_0", codes=blocks.codes + (128 - (FORMS[blocks.form].centre or 0)))


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
    return Blocks("Q8_0", codes.flatten(-2).to(torch.uint8), scales)


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
    return Blocks("Q4_1", codes.flatten(-2).to(torch.uint8), scales, zeros)


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
    missing = -outputs % TILE_OUTPUTS
    if missing:
        blocks = Blocks(
            blocks.form,
            _lengthened(blocks.codes, missing),
            _lengthened(blocks.scales, missing),
            None if blocks.zeros is None else _lengthened(blocks.zeros, missing),
        )
    if order is not None:
        order = torch.cat((order, torch.arange(outputs, outputs + missing)))
    rows, inputs = blocks.codes.shape
    tiles = rows // TILE_OUTPUTS
    out = room.take(tiles, inputs // GROUP * FORMS[blocks.form].tile_bytes)
    at_once = max(1, _WEIGHTS_AT_ONCE // (TILE_OUTPUTS * inputs))
    for begin in range(0, tiles, at_once):
        some = slice(begin * TILE_OUTPUTS, (begin + at_once) * TILE_OUTPUTS)
        out[begin : begin + at_once] = _packed(blocks.rows(some if order is None else order[some]))
    return out


def _packed(blocks: Blocks) -> torch.Tensor:
    facts = FORMS[blocks.form]
    codes = _packed_codes(blocks.codes, facts.bits)
    if facts.numbers == 1:
        return torch.cat((codes.flatten(1), _numbers_bytes(_tiles(blocks.scales)).flatten(1)), dim=1)
    second = blocks.zeros
    first, second = (blocks.scales, second) if second is not None else split_last(blocks.scales, 2).unbind(-1)
    return torch.cat((_numbers_bytes(_tiles(first), _tiles(second)), codes), dim=2).flatten(1)


def _packed_codes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Returns bytes, shape `(tiles, groups, bytes of one)`."""
    if bits == 8:
        return _codes_bytes(_tiles(split_last(codes, GROUP // 4, 4)))
    # (tiles, groups, outputs, 8 inputs' quarters, halves, 4 inputs) to one byte of two halves
    halves = _tiles(split_last(codes & 15, GROUP // 8, 2, 4))
    lower = _codes_bytes(halves[..., 0, :] | (halves[..., 1, :] << 4))
    above = bits - 4
    if not above:
        return lower
    # (tiles, groups, outputs, lines, fours, 4 inputs) to one byte of as many parts as there are fours
    fours = _tiles(split_last(codes >> 4, above, 8 // above, 4))
    upper = reduce(torch.bitwise_or, (fours[..., number, :] << above * number for number in range(8 // above)))
    return torch.cat((lower, _codes_bytes(upper)), dim=2)


def unpacked_rows(weights: torch.Tensor, form: Form, rows: torch.Tensor) -> Blocks:
    """Returns some outputs of a matrix that was packed.

    Args:
        weights: As `pack` returns them.
        form: Theirs.
        rows: Which outputs, without an order of their own.
    """
    facts = FORMS[form]
    numbers_bytes = 2 * TILE_OUTPUTS * facts.numbers
    if facts.numbers == 1:
        begin = weights.shape[1] // facts.tile_bytes * (facts.tile_bytes - numbers_bytes)
        codes = split_last(weights[:, :begin], facts.tile_bytes - numbers_bytes)
        numbers = split_last(weights[:, begin:], numbers_bytes)
    else:
        records = split_last(weights, facts.tile_bytes)
        codes, numbers = records[..., numbers_bytes:], records[..., :numbers_bytes]
    tiles, lanes = rows // TILE_OUTPUTS, rows % TILE_OUTPUTS
    # (outputs, groups, numbers, 2 bytes), (outputs, groups, vectors, 4 inputs)
    numbers = split_last(numbers, TILE_OUTPUTS, 2)[tiles, :, :, lanes]
    codes = _unpacked_codes(split_last(codes, TILE_OUTPUTS, 4)[tiles, :, :, lanes], facts.bits)
    halves = numbers.contiguous().view(torch.float16)[..., 0]
    if facts.centre is None:
        return Blocks(form, codes, halves[..., 0], halves[..., 1])
    return Blocks(form, codes, halves.flatten(1))


def _unpacked_codes(vectors: torch.Tensor, bits: int) -> torch.Tensor:
    """Returns codes, shape `(outputs, inputs)`."""
    if bits == 8:
        return vectors.flatten(1)
    packed, lines = vectors[:, :, : GROUP // 8], vectors[:, :, GROUP // 8 :]
    lower = torch.stack((packed & 15, packed >> 4), dim=-2).flatten(1)
    above = bits - 4
    if not above:
        return lower
    mask = (1 << above) - 1
    upper = torch.stack([lines >> above * number & mask for number in range(8 // above)], dim=-2)
    return lower | (upper.flatten(1) << 4)


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
    return values.reshape(-1, TILE_OUTPUTS, *values.shape[1:]).transpose(1, 2)


def _lengthened(values: torch.Tensor, rows: int) -> torch.Tensor:
    return torch.cat((values, values.new_zeros((rows, *values.shape[1:]))))


def _divisor(scales: torch.Tensor) -> torch.Tensor:
    return torch.where(scales == 0, 1.0, scales)


@dataclass(frozen=True, slots=True)
class BlockLinear:
    """A linear as the compiled step reads it."""

    form: Form
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
