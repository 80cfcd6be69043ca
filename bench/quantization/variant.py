"""The forms of weights that are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """One form, as the settings ask for it."""

    name: str
    weights: str
    threshold: float = 0.0
    """Of bitsandbytes' int8."""
    streams: tuple[int, ...] = (1, 8)
    """How many replies at once its speed is measured with."""
    without_blocks: bool = False
    """Whether the model's own 4-bit blocks are withheld, as from a model that has none."""


REFERENCE = Variant("fp32", "fp32")
BF16 = Variant("bf16", "bf16")
VARIANTS = (
    REFERENCE,
    BF16,
    Variant("int8", "int8"),
    Variant("int4, the file's blocks", "int4"),
    Variant("int4, rounded here", "int4", without_blocks=True),
    Variant("bnb-int8, threshold 0", "bnb-int8", streams=(1,)),
    Variant("bnb-int8, threshold 6", "bnb-int8", threshold=6.0, streams=(1,)),
    Variant("bnb-nf4", "bnb-nf4", streams=(1,)),
)
"""The reference comes first, then what next tokens are held against: each is needed by those after it."""
