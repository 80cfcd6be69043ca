"""Rounds matrices to blocks of every form that the compiled step reads."""

from __future__ import annotations

import torch

from services.inference.engine.block_weights import Bits, Blocks, quantized

HALF = 16
"""Weights of 6 bits that share a scale."""


def rounded_to(bits: Bits, weight: torch.Tensor) -> Blocks:
    """Returns the blocks nearest to a matrix, or nearly so."""
    if bits != 6:
        return quantized(weight, bits)
    groups = weight.float().unflatten(-1, (-1, HALF))
    scales = (groups.abs().amax(dim=-1) / 31).half()
    divisors = torch.where(scales == 0, 1.0, scales.float())[..., None]
    codes = ((groups / divisors).round() + 32).clamp(0, 63)
    return Blocks(6, codes.flatten(-2).to(torch.uint8), scales, None)
