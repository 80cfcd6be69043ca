"""What a step does to one row of floats: norms, sums, the activation between the MLP's linears."""

from __future__ import annotations

import math
from typing import Any

from services.kernels.elementary import sigmoid
from services.kernels.emitter import ADDRESS, F32, I64, LANES, Emitter, constant, float32, int64, vector

_STEP = 4 * LANES
"""Bytes of a vector of floats."""


def write_norm(module: Any) -> Any:
    """Root mean square norm (Zhang and Sennrich 2019): `(in, weight, out, size, epsilon)`; `out` may be `in`."""
    emitter = Emitter(module, "norm", [ADDRESS] * 3 + [I64, F32])
    values, weight, out, size, epsilon = emitter.arguments
    build = emitter.build
    end = build.mul(size, int64(4))
    with emitter.loop(int64(0), end, [constant(F32, 0.0)], step=_STEP) as part:
        value = emitter.load(vector(F32), values, part.index)
        part.next = [emitter.plus_product(part.carried[0], value, value)]
    squares = emitter.reduce(part.carried[0], emitter.plus)
    mean = build.fdiv(squares, build.uitofp(size, F32))
    root = emitter.unary("sqrt", emitter.plus(mean, epsilon))
    factor = emitter.splat(build.fdiv(float32(1.0), root))
    with emitter.loop(int64(0), end, step=_STEP) as part:
        normed = emitter.times(emitter.load(vector(F32), values, part.index), factor)
        emitter.store(emitter.times(normed, emitter.load(vector(F32), weight, part.index)), out, part.index)
    return emitter.finish()


def write_add(module: Any) -> Any:
    """Adds one row to another: `(to, what, size)`."""
    emitter = Emitter(module, "add", [ADDRESS] * 2 + [I64])
    to, what, size = emitter.arguments
    with emitter.loop(int64(0), emitter.build.mul(size, int64(4)), step=_STEP) as part:
        sum_ = emitter.plus(*(emitter.load(vector(F32), row, part.index) for row in (to, what)))
        emitter.store(sum_, to, part.index)
    return emitter.finish()


def write_gate(module: Any, activation: str) -> Any:
    """Lets through what the gate allows: `(pairs, out, first, last)`.

    Of `pairs`, 16 floats of the gate alternate with the 16 they act on; `first` and `last` count such pairs.

    Args:
        module: What the function becomes a part of.
        activation: `silu`, or `gelu_pytorch_tanh`.
    """
    emitter = Emitter(module, "gate", [ADDRESS] * 2 + [I64] * 2)
    pairs, out, first, last = emitter.arguments
    build = emitter.build
    with emitter.loop(first, last) as pair:
        begin = emitter.at(pairs, build.mul(pair.index, int64(2 * _STEP)))
        gate, value = (emitter.load(vector(F32), begin, _STEP * n) for n in (0, 1))
        if activation == "silu":
            active = emitter.times(gate, sigmoid(emitter, gate))
        else:
            cube = emitter.times(emitter.times(gate, gate), gate)
            inner = emitter.plus_product(gate, cube, constant(F32, 0.044715))
            # With the scale below: gelu(x) = x * (1 + tanh(u)) / 2 = x * sigmoid(2 u).
            scaled = emitter.times(inner, constant(F32, 2 * math.sqrt(2 / math.pi)))
            active = emitter.times(gate, sigmoid(emitter, scaled))
        emitter.store(emitter.times(active, value), out, build.mul(pair.index, int64(_STEP)))
    return emitter.finish()
