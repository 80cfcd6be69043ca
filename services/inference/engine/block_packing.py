"""Lays blocks out as the compiled step reads them, and takes them out again."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import torch

from services.inference.engine.block_forms import FORMS, GROUP, TILE_OUTPUTS
from services.inference.engine.block_weights import WEIGHTS_AT_ONCE, Blocks, split_last

if TYPE_CHECKING:
    from services.inference.engine.block_forms import Form
    from services.inference.engine.weight_room import WeightRoom


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
    at_once = max(1, WEIGHTS_AT_ONCE // (TILE_OUTPUTS * inputs))
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


def _tiles(values: torch.Tensor) -> torch.Tensor:
    """`(outputs, groups, ...)` to `(tiles, groups, 16, ...)`."""
    return values.reshape(-1, TILE_OUTPUTS, *values.shape[1:]).transpose(1, 2)


def _lengthened(values: torch.Tensor, rows: int) -> torch.Tensor:
    return torch.cat((values, values.new_zeros((rows, *values.shape[1:]))))
