"""The forms of blocks that the compiled step reads, by ggml's names of them.

Along a row of weights a group of 32 has codes and one or two numbers. A weight is `scale * (code - centre)`, or
`scale * code + zero`. What ggml calls Q4_K and Q5_K is, once its groups' numbers are multiplied out, Q4_1 and Q5_1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GROUP = 32
TILE_OUTPUTS = 16
"""Outputs of a tile, which lie together in memory."""

Form = Literal["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K", "Q8_0"]


@dataclass(frozen=True, slots=True)
class FormFacts:
    """What a form is like."""

    number: int
    """By which the compiled step knows it."""
    bits: int
    """Of a code."""
    centre: int | None
    """The code of a weight of 0; None where there are zeros instead."""
    halves: bool = False
    """The first 16 weights of a group have a scale, the others another."""

    @property
    def numbers(self) -> int:
        """How many a group has beside its codes."""
        return 2 if self.centre is None or self.halves else 1

    @property
    def tile_bytes(self) -> int:
        """Of a group of 16 outputs, with numbers in fp16."""
        return TILE_OUTPUTS * (GROUP * self.bits // 8 + 2 * self.numbers)


FORMS: dict[Form, FormFacts] = {
    "Q4_0": FormFacts(0, 4, 8),
    "Q4_1": FormFacts(1, 4, None),
    "Q5_0": FormFacts(2, 5, 16),
    "Q5_1": FormFacts(3, 5, None),
    "Q6_K": FormFacts(4, 6, 32, halves=True),
    "Q8_0": FormFacts(5, 8, 128),
}
