"""Rounds floats to integers of 8 bits that share a scale."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from services.kernels.emitter import float32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kernels.emitter import Emitter, Value

LEAST = 1e-30
"""What is nowhere larger becomes 0: one over its scale could be no number."""


def round_to_bytes(emitter: Emitter, values: Sequence[Value], *, signed: bool) -> tuple[list[Value], Value]:
    """Returns vectors of 32-bit integers, the largest of all of them 127 or 255, and the float that 1 stands for.

    Args:
        emitter: The function that is written.
        values: Vectors of floats.
        signed: Whether some may be below 0.
    """
    build = emitter.build
    most = 127.0 if signed else 255.0
    sizes = [emitter.unary("fabs", part) for part in values] if signed else values
    largest = emitter.reduce(reduce(emitter.greater, sizes), emitter.greater)
    some = build.fcmp_ordered(">", largest, float32(LEAST))
    inverse = emitter.splat(build.select(some, build.fdiv(float32(most), largest), float32(0.0)))
    return [emitter.nearest(part, inverse) for part in values], emitter.times(largest, float32(1 / most))
