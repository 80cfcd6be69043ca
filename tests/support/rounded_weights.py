"""Rounds matrices to blocks of every form that the compiled step reads."""

from __future__ import annotations

import torch

from services.inference.engine.block_forms import FORMS, GROUP, Form
from services.inference.engine.block_weights import Blocks


def rounded_to(form: Form, weight: torch.Tensor) -> Blocks:
    """Returns the blocks nearest to a matrix, or nearly so."""
    facts = FORMS[form]
    groups = weight.float().unflatten(-1, (-1, GROUP // 2 if facts.halves else GROUP))
    most = 2**facts.bits - 1
    if facts.centre is None:
        zeros = groups.amin(dim=-1).half()
        scales = ((groups.amax(dim=-1) - zeros.float()) / most).half()
    else:
        zeros = None
        scales = (groups.abs().amax(dim=-1) / (facts.centre - 1)).half()
    divisors = torch.where(scales == 0, 1.0, scales.float())[..., None]
    offsets = float(facts.centre) if zeros is None else -zeros.float()[..., None] / divisors
    codes = (groups / divisors + offsets).round().clamp(0, most)
    return Blocks(form, codes.flatten(-2).to(torch.uint8), scales, zeros)
