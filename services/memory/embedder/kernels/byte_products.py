"""Linears by products of bytes, of which a processor with VNNI adds four to each of 16 sums at once.

A row of inputs is rotated and rounded to bytes with one scale, as every row of weights is. Products are added as
integers: exact.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from services.kernels.emitter import ADDRESS, F32, I8, I32, I64, LANES, Emitter, constant, float32, int32, int64, vector
from services.memory.embedder.kernels.products import VECTOR_BYTES, Products, load_active, tiled
from services.memory.embedder.kernels.rotation import BLOCK, VECTORS, rotate, rotated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.kernels.emitter import Value

_FOUR = 4
"""Inputs whose products are added by one instruction."""
_MOST = 127
"""What the largest of a row becomes."""
_ABOVE = 128
"""Weights are held so much too large: none is below zero."""
_LEAST = 1e-30
"""What is nowhere larger becomes 0: one over its scale could be no number."""
_ROWS_AT_ONCE = 8


class ByteProducts(Products):
    """See above. What belongs to a row is its scale, and 128 times the sum of its bytes."""

    inputs_at_once = _FOUR
    input_bytes = 1

    @override
    @staticmethod
    def packed(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.uint8]:
        turned = rotated(weights)
        scales = np.maximum(np.abs(turned).max(axis=1) / _MOST, np.float32(_LEAST))
        in_bytes = (np.rint(turned / scales[:, None]) + _ABOVE).astype(np.uint8)
        # Both sides of a product were rotated, and neither divided.
        return tiled(in_bytes, (scales / BLOCK).astype(np.float32), bias, _FOUR)

    @override
    def _rows_at_once(self) -> int:
        return _ROWS_AT_ONCE

    @override
    def _write_ready(self, module: Any, *, gelu: bool) -> Any:
        emitter = Emitter(module, f"ready_gelu{gelu:d}", [ADDRESS, I64] + [ADDRESS] * 3)
        row, inputs, values, own, scratch = emitter.arguments
        build = emitter.build
        size = build.mul(inputs, int64(4))
        with emitter.loop(int64(0), size, [constant(F32, 0.0)], step=4 * BLOCK) as block:
            places = [build.add(block.index, int64(VECTOR_BYTES * n)) for n in range(VECTORS)]
            turned = rotate(emitter, [load_active(emitter, row, place, gelu=gelu) for place in places])
            for place, part in zip(places, turned, strict=True):
                emitter.store(part, scratch, place)
            sizes = [emitter.unary("fabs", part) for part in turned]
            block.next = [reduce(emitter.greater, sizes, block.carried[0])]
        largest = emitter.reduce(block.carried[0], emitter.greater)
        some = build.fcmp_ordered(">", largest, float32(_LEAST))
        inverse = emitter.splat(build.select(some, build.fdiv(float32(_MOST), largest), float32(0.0)))
        with emitter.loop(int64(0), inputs, [constant(I32, 0)], step=LANES) as part:
            turned_part = emitter.load(vector(F32), scratch, build.mul(part.index, int64(4)))
            whole = emitter.nearest(turned_part, inverse)
            emitter.store(build.trunc(whole, vector(I8)), values, part.index)
            part.next = [build.add(part.carried[0], whole)]
        emitter.store(emitter.times(largest, float32(1 / _MOST)), own)
        emitter.store(build.mul(emitter.reduce(part.carried[0], build.add), int32(_ABOVE)), own, 4)
        return emitter.finish()

    @override
    def _weights(self) -> Any:
        return vector(I8, _FOUR * LANES)

    @override
    def _start(self, emitter: Emitter, own: Value) -> Value:
        return emitter.splat(emitter.build.sub(int32(0), emitter.load(I32, own, 4)))

    @override
    def _plus(self, emitter: Emitter, sums: Value, weights: Value, row: Value, offset: Value) -> Value:
        four = emitter.build.bitcast(emitter.splat(emitter.load(I32, row, offset)), vector(I8, _FOUR * LANES))
        return self._processor.plus_products(emitter, sums, weights, four, 8)

    @override
    def _finish(self, emitter: Emitter, sums: Value, scale: Value, bias: Value, own: Value) -> Value:
        whole = emitter.build.sitofp(sums, vector(F32))
        return emitter.plus_product(bias, emitter.times(whole, scale), emitter.splat(emitter.load(F32, own)))
