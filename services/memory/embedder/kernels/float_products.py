"""Linears by products of floats: for processors that multiply bytes no faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from services.kernels.emitter import ADDRESS, F32, I64, LANES, Emitter, constant, int64, vector
from services.memory.embedder.kernels.products import VECTOR_BYTES, Products, load_active, tiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.kernels.emitter import Value


class FloatProducts(Products):
    """See above. Nothing belongs to a row."""

    inputs_at_once = 1
    input_bytes = 4

    @override
    @staticmethod
    def packed(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.uint8]:
        return tiled(weights, np.ones_like(bias), bias, 1)

    @override
    def _rows_at_once(self) -> int:
        return 8 if "avx512f" in self._processor.features else 2

    @override
    def _write_ready(self, module: Any, *, gelu: bool) -> Any:
        emitter = Emitter(module, f"ready_gelu{gelu:d}", [ADDRESS, I64] + [ADDRESS] * 3)
        row, inputs, values, _own, _scratch = emitter.arguments
        with emitter.loop(int64(0), emitter.build.mul(inputs, int64(4)), step=VECTOR_BYTES) as part:
            emitter.store(load_active(emitter, row, part.index, gelu=gelu), values, part.index)
        return emitter.finish()

    @override
    def _weights(self) -> Any:
        return vector(F32, LANES)

    @override
    def _start(self, emitter: Emitter, own: Value) -> Value:
        return constant(F32, 0.0)

    @override
    def _plus(self, emitter: Emitter, sums: Value, weights: Value, row: Value, offset: Value) -> Value:
        return emitter.plus_product(sums, weights, emitter.splat(emitter.load(F32, row, offset)))

    @override
    def _finish(self, emitter: Emitter, sums: Value, scale: Value, bias: Value, own: Value) -> Value:
        return emitter.plus(sums, bias)
