"""Reads blocks of a `.gguf` file: those of 4 bits, what ggml calls Q4_0, Q4_1 and Q4_K, of 6, Q6_K, and of 8, Q8_0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from services.inference.engine.block_weights import Bits, Blocks, split_last

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_BITS: dict[str, Bits] = {"Q4_0": 4, "Q4_1": 4, "Q4_K": 4, "Q6_K": 6, "Q8_0": 8}
"""How many bits a weight has, by ggml's name of the type."""


def read_blocks(kind: str, rows: torch.Tensor) -> Blocks:
    """Returns the matrix that some rows of a file are.

    Args:
        kind: One of `BLOCK_BITS`.
        rows: Bytes, shape `(outputs, bytes of a row)`.
    """
    return _READERS[kind](rows)


def _read_q4_0(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 18)
    scales = _halves(blocks[..., :2])
    return Blocks(4, _nibbles(blocks[..., 2:]), scales, (-8 * scales.float()).half())


def _read_q4_1(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 20)
    return Blocks(4, _nibbles(blocks[..., 4:]), _halves(blocks[..., :2]), _halves(blocks[..., 2:4]))


def _read_q4_k(data: torch.Tensor) -> Blocks:
    """Eight groups share two scales, by which theirs are multiplied; those are of 6 bits, 8 scales and 8 minima."""
    blocks = split_last(data, 144)
    scale, least = (_halves(blocks[..., begin : begin + 2]).float()[..., None] for begin in (0, 2))
    low, high, mixed = blocks[..., 4:8], blocks[..., 8:12], blocks[..., 12:16]
    scales = torch.cat((low & 63, (mixed & 15) | ((low >> 6) << 4)), dim=-1)
    leasts = torch.cat((high & 63, (mixed >> 4) | ((high >> 6) << 4)), dim=-1)
    # 32 bytes hold two groups: one in their lower halves, one in their upper.
    pairs = blocks[..., 16:].reshape(*blocks.shape[:-1], 4, 32)
    codes = torch.stack((pairs & 15, pairs >> 4), dim=-2)
    return Blocks(
        4,
        codes.flatten(-4),
        (scale * scales).flatten(-2),
        (-least * leasts).flatten(-2),
    )


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
        6,
        (lower.flatten(-3) | (upper.flatten(-3) << 4)).flatten(-2),
        (_halves(blocks[..., 208:]).float()[..., None] * scales).flatten(-2),
        None,
    )


def _read_q8_0(data: torch.Tensor) -> Blocks:
    blocks = split_last(data, 34)
    # With a sign there, without one here: 128 more.
    return Blocks(8, (blocks[..., 2:] ^ 128).flatten(-2), _halves(blocks[..., :2]), None)


_READERS: dict[str, Callable[[torch.Tensor], Blocks]] = {
    "Q4_0": _read_q4_0,
    "Q4_1": _read_q4_1,
    "Q4_K": _read_q4_k,
    "Q6_K": _read_q6_k,
    "Q8_0": _read_q8_0,
}


def _nibbles(packed: torch.Tensor) -> torch.Tensor:
    """16 bytes a group: the first half of its codes in their lower halves, the second in their upper."""
    return torch.cat((packed & 15, packed >> 4), dim=-1).flatten(-2)


def _halves(data: torch.Tensor) -> torch.Tensor:
    return data.contiguous().view(torch.float16)[..., 0]
