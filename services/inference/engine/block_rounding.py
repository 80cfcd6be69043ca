"""Rounds weights to blocks."""

from __future__ import annotations

from typing import Literal

import torch

from services.inference.engine.block_forms import GROUP
from services.inference.engine.block_weights import WEIGHTS_AT_ONCE, Blocks, joined, split_last

Rounded = Literal[4, 8]
"""Bits of what weights are rounded to here: Q4_1 and Q8_0."""


def quantized(weight: torch.Tensor, bits: Rounded) -> Blocks:
    """Rounds a matrix.

    With 8 bits a group's largest weight, whatever its sign, is the last code. With 4 bits codes are first spread evenly
    from its least weight to its greatest; scale and zero are then those of least squared error for these codes, which
    are chosen anew.
    """
    # In pieces, so that what is needed on the way is small beside the matrix.
    rows = max(1, WEIGHTS_AT_ONCE // weight.shape[1])
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


def _divisor(scales: torch.Tensor) -> torch.Tensor:
    return torch.where(scales == 0, 1.0, scales)
