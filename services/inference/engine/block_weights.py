"""Weights in blocks (`block_forms`), and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from services.inference.engine.block_forms import FORMS, GROUP, Form

WEIGHTS_AT_ONCE = 2**18
"""Of a matrix that is gone through several times: what the nearest caches hold."""


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
        groups = split_last(self.codes, GROUP // 2 if facts.halves else GROUP).float()
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


def split_last(values: torch.Tensor, *sizes: int) -> torch.Tensor:
    """Splits the last dimension: `(..., n * prod(sizes))` to `(..., n, *sizes)`."""
    return values.reshape(*values.shape[:-1], -1, *sizes)
