"""Spreads what stands out of a row over its neighbours, so that bytes with one scale can hold it.

A row of inputs and a row of weights that are both multiplied by an orthogonal matrix have the same product as before.
By a Hadamard matrix, whose entries are 1 and -1, every input becomes a sum over a block of 128, and a single large one
is spread over all of them (QuaRot, https://arxiv.org/abs/2404.00456). Rows are not divided by the root of 128, so that
of two rotated ones the product is 128 times as large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir

from services.kernels.emitter import F32, I32, LANES, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.kernels.emitter import Emitter, Value

BLOCK = 128
"""Inputs that are rotated together."""
VECTORS = BLOCK // LANES


def rotate(emitter: Emitter, vectors: Sequence[Value]) -> list[Value]:
    """Returns a rotated block of a row, in vectors of 16 floats as it was given."""
    build = emitter.build
    values = list(vectors)
    apart = 1
    while apart < VECTORS:
        for one in range(VECTORS):
            if not one & apart:
                left, right = values[one], values[one | apart]
                values[one], values[one | apart] = build.fadd(left, right), build.fsub(left, right)
        apart *= 2
    apart = 1
    while apart < LANES:
        others = ir.Constant(vector(I32), [lane ^ apart for lane in range(LANES)])
        signs = ir.Constant(vector(F32), [-1.0 if lane & apart else 1.0 for lane in range(LANES)])
        values = [emitter.plus_product(build.shuffle_vector(v, v, others), v, signs) for v in values]
        apart *= 2
    return values


def rotated(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns rows rotated, shape `(N, inputs)`; `inputs` is a multiple of 128."""
    places = np.arange(BLOCK)
    odd = np.bitwise_and(places[:, None], places)
    for shift in (4, 2, 1):
        odd = np.bitwise_xor(odd, odd >> shift)
    hadamard = 1.0 - 2.0 * (odd & 1).astype(np.float32)
    return np.asarray((rows.reshape(-1, BLOCK) @ hadamard).reshape(rows.shape), dtype=np.float32)
