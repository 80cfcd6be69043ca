"""Layer norm (https://arxiv.org/abs/1607.06450)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import ADDRESS, F32, I64, LANES, Emitter, constant, float32, int64, vector

if TYPE_CHECKING:
    from services.kernels.emitter import Value

_STEP = 4 * LANES
"""Bytes of a vector of floats."""


def write_layer_norm(module: Any) -> Any:
    """Adds a row to another and norms the sum: `(row, what is added, weight, bias, size, epsilon)`."""
    emitter = Emitter(module, "layer_norm", [ADDRESS] * 4 + [I64, F32])
    row, added, weight, bias, size, epsilon = emitter.arguments
    build = emitter.build
    end = build.mul(size, int64(4))
    count = build.sitofp(size, F32)
    zero = constant(F32, 0.0)

    def mean_of(values: Value) -> Value:
        return build.fdiv(emitter.reduce(values, emitter.plus), count)

    with emitter.loop(int64(0), end, [zero], step=_STEP) as part:
        value = emitter.plus(*(emitter.load(vector(F32), address, part.index) for address in (row, added)))
        emitter.store(value, row, part.index)
        part.next = [emitter.plus(part.carried[0], value)]
    mean = emitter.splat(mean_of(part.carried[0]))
    with emitter.loop(int64(0), end, [zero], step=_STEP) as part:
        apart = build.fsub(emitter.load(vector(F32), row, part.index), mean)
        part.next = [emitter.plus_product(part.carried[0], apart, apart)]
    deviation = emitter.unary("sqrt", emitter.plus(mean_of(part.carried[0]), epsilon))
    factor = emitter.splat(build.fdiv(float32(1.0), deviation))
    with emitter.loop(int64(0), end, step=_STEP) as part:
        apart = build.fsub(emitter.load(vector(F32), row, part.index), mean)
        shift, scale = (emitter.load(vector(F32), address, part.index) for address in (bias, weight))
        emitter.store(emitter.plus_product(shift, scale, emitter.times(apart, factor)), row, part.index)
    return emitter.finish()
