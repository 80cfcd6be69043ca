"""Reads blocks of a `.gguf` file. Q4_K and Q5_K become Q4_1 and Q5_1, their groups' numbers multiplied out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from services.inference.engine.block_weights import Blocks, split_last

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.block_forms import Form

FORM_OF: dict[str, Form] = {
    "Q4_0": "Q4_0",
    "Q4_1": "Q4_1",
    "Q4_K": "Q4_1",
    "Q5_0": "Q5_0",
    "Q5_1": "Q5_1",
    "Q5_K": "Q5_1",
    "Q6_K": "Q6_K",
    "Q8_0": "Q8_0",
}
"""What is made of a type, by ggml's name of it."""


def read_blocks(kind: str, rows: torch.Tensor) -> Blocks:
    """Returns the matrix that some rows of a file are.

    Args:
        kind: One of `FORM_OF`.
        rows: Bytes, shape `(outputs, bytes of a row)`.
    """
    return _READERS[kind](rows)


def _read_q4_0(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 18)
    return Blocks("Q4_0", _nibbles(blocks[..., 2:]), _halves(blocks[..., :2]))


def _read_q4_1(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 20)
    return Blocks("Q4_1", _nibbles(blocks[..., 4:]), _halves(blocks[..., :2]), _halves(blocks[..., 2:4]))


def _read_q5_0(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 22)
    codes = _nibbles(blocks[..., 6:]) | _fifth_bits(blocks[..., 2:6])
    return Blocks("Q5_0", codes, _halves(blocks[..., :2]))


def _read_q5_1(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 24)
    codes = _nibbles(blocks[..., 8:]) | _fifth_bits(blocks[..., 4:8])
    return Blocks("Q5_1", codes, _halves(blocks[..., :2]), _halves(blocks[..., 2:4]))


def _read_q4_k(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 144)
    return Blocks("Q4_1", _pairs(blocks[..., 16:]).flatten(-4), *_products(blocks))


def _read_q5_k(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 176)
    # 32 bytes hold a bit of each of the eight groups.
    upper = torch.stack([blocks[..., 16:48] >> number & 1 for number in range(8)], dim=-2)
    lower = _pairs(blocks[..., 48:]).flatten(-3, -2)
    return Blocks("Q5_1", (lower | (upper << 4)).flatten(-3), *_products(blocks))


def _products(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the scales and zeros of blocks of Q4_K or Q5_K.

    Eight groups share two numbers, by which theirs are multiplied; those are of 6 bits, 8 for scales and 8 for minima.
    """
    scale, least = (_halves(blocks[..., begin : begin + 2]).float()[..., None] for begin in (0, 2))
    low, high, mixed = blocks[..., 4:8], blocks[..., 8:12], blocks[..., 12:16]
    scales = torch.cat((low & 63, (mixed & 15) | ((low >> 6) << 4)), dim=-1)
    leasts = torch.cat((high & 63, (mixed >> 4) | ((high >> 6) << 4)), dim=-1)
    return (scale * scales).flatten(-2), (-least * leasts).flatten(-2)


def _read_q6_k(data: torch.Tensor) -> Blocks:
    """Sixteen groups of 16 share a scale, by which theirs, of 8 bits, are multiplied."""
    blocks = split_last(data, 210)
    # Twice 128: 64 bytes hold the lower bits of 64 in their lower halves, of 64 in their upper.
    packed = blocks[..., :128].reshape(*blocks.shape[:-1], 2, 64)
    lower = torch.stack((packed & 15, packed >> 4), dim=-2)
    packed = blocks[..., 128:192].reshape(*blocks.shape[:-1], 2, 32)
    upper = torch.stack([packed >> 2 * number & 3 for number in range(4)], dim=-2)
    scales = blocks[..., 192:208].contiguous().view(torch.int8)
    return Blocks(
        "Q6_K",
        (lower.flatten(-3) | (upper.flatten(-3) << 4)).flatten(-2),
        (_halves(blocks[..., 208:]).float()[..., None] * scales).flatten(-2),
    )


def _read_q8_0(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 34)
    # With a sign there, without one here: 128 more.
    return Blocks("Q8_0", (blocks[..., 2:] ^ 128).flatten(-2), _halves(blocks[..., :2]))


_READERS: dict[str, Callable[[torch.Tensor], Blocks]] = {
    "Q4_0": _read_q4_0,
    "Q4_1": _read_q4_1,
    "Q4_K": _read_q4_k,
    "Q5_0": _read_q5_0,
    "Q5_1": _read_q5_1,
    "Q5_K": _read_q5_k,
    "Q6_K": _read_q6_k,
    "Q8_0": _read_q8_0,
}


def _nibbles(packed: torch.Tensor) -> torch.Tensor:
    """16 bytes a group: the first half of its codes in their lower halves, the second in their upper."""
    return torch.cat((packed & 15, packed >> 4), dim=-1).flatten(-2)


def _pairs(packed: torch.Tensor) -> torch.Tensor:
    """32 bytes hold two groups, one in their lower halves, one in their upper: shape `(…, 4, 2, 32)`."""
    pairs = packed.reshape(*packed.shape[:-1], 4, 32)
    return torch.stack((pairs & 15, pairs >> 4), dim=-2)


def _fifth_bits(packed: torch.Tensor) -> torch.Tensor:
    """4 bytes a group, a bit for each of its codes; returns them in the place they have in a code."""
    bits = packed[..., None] >> torch.arange(8, dtype=torch.uint8) & 1
    return (bits << 4).flatten(-3)


def _halves(data: torch.Tensor) -> torch.Tensor:
    return data.contiguous().view(torch.float16)[..., 0]
