"""What a step does to one row of floats: norms, rounding, the activation between the MLP's linears."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.inference.engine.kernels.byte_rounding import LEAST
from services.inference.engine.kernels.emitter import (
    ADDRESS,
    F32,
    I8,
    I32,
    I64,
    LANES,
    Emitter,
    constant,
    float32,
    int32,
    int64,
    vector,
)
from services.inference.engine.kernels.linear_kernel import FOUR, GROUP, PART_BITS, ROWS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.kernels.emitter import Value

_STEP = 4 * LANES
"""Bytes of a vector of floats."""
_MOST = 127
"""What the largest of a group's values becomes of those that do not stand out."""
OUTLYING = 16.0
"""A value stands out of its group where its square is more than so many times their mean square: of 32, a value that is
alone has 32 times, the largest of normally distributed ones about 5. From 16 on there is one at most. By how much it is
to be was measured (decision 0024)."""
_GROUPS_AT_ONCE = 4
"""Groups whose lanes are combined together: one by one that would be most of what rounding takes."""


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


def write_quantize(module: Any) -> Any:
    """Rounds a row as `QuantizedRows` has it: `(in, values, scales, sums, offsets, outlying, groups, number)`.

    Rows that share a row of `outlying` come in order, the first of them first.
    """
    emitter = Emitter(module, "quantize", [ADDRESS] * 6 + [I64] * 2)
    row, values, scales, sums, offsets, outlying, groups, number = emitter.arguments
    build = emitter.build
    is_first = build.icmp_signed("==", build.srem(number, int64(ROWS_AT_ONCE)), int64(0))
    uppers = emitter.at(values, build.mul(groups, int64(GROUP)))
    last = build.sub(groups, int64(1))
    with emitter.loop(int64(0), groups, step=_GROUPS_AT_ONCE) as begin:
        # Of a row whose groups are no multiple of four the last is computed several times.
        indices = [emitter.least(build.add(begin.index, int64(place)), last) for place in range(_GROUPS_AT_ONCE)]
        starts = [build.mul(index, int64(GROUP)) for index in indices]
        halves = [
            [emitter.load(vector(F32), row, build.add(build.mul(start, int64(4)), int64(_STEP * n))) for n in (0, 1)]
            for start in starts
        ]
        squares = [[emitter.times(half, half) for half in pair] for pair in halves]
        totals = emitter.reduce_four([emitter.plus(*pair) for pair in squares], emitter.plus)
        bounds = emitter.times(totals, constant(F32, OUTLYING / GROUP))
        others = [
            [
                build.select(
                    build.fcmp_ordered(">", square, emitter.spread(bounds, place)),
                    constant(F32, 0.0),
                    emitter.unary("fabs", half),
                )
                for square, half in zip(*pairs, strict=True)
            ]
            for place, pairs in enumerate(zip(squares, halves, strict=True))
        ]
        largest = emitter.reduce_four([emitter.greater(*pair) for pair in others], emitter.greater)
        # No value is larger than the root of all squares, for which two parts have to be enough.
        least = emitter.times(emitter.unary("sqrt", totals), constant(F32, 1 / (_MOST << PART_BITS)))
        steps = emitter.greater(emitter.times(largest, constant(F32, 1 / _MOST)), least)
        some = build.fcmp_ordered(">", steps, constant(F32, LEAST))
        inverses = build.select(some, build.fdiv(constant(F32, 1.0), steps), constant(F32, 0.0))
        wholes = [
            [
                build.fptosi(emitter.unary("rint", emitter.times(half, emitter.spread(inverses, place))), vector(I32))
                for half in pair
            ]
            for place, pair in enumerate(halves)
        ]
        for index, start, pair in zip(indices, starts, wholes, strict=True):
            with_upper = _store_parts(emitter, pair, emitter.at(values, start), emitter.at(uppers, start))
            kept = build.select(is_first, ir.Constant(I8, 0), emitter.load(I8, outlying, index))
            emitter.store(build.or_(kept, with_upper), outlying, index)
        integers = emitter.reduce_four([build.add(*pair) for pair in wholes], build.add)
        in_floats = emitter.times(build.sitofp(integers, vector(F32)), steps)
        shifted = build.shl(integers, constant(I32, 7))
        for quarters, buffer in ((steps, scales), (in_floats, sums), (shifted, offsets)):
            for place, index in enumerate(indices):
                one = build.extract_element(quarters, int32(place * LANES // _GROUPS_AT_ONCE))
                emitter.store(one, buffer, build.mul(index, int64(4)))
    return emitter.finish()


def _store_parts(emitter: Emitter, wholes: Sequence[Value], lowers: Value, uppers: Value) -> Value:
    """Stores both parts of a group's integers; returns a byte with a bit for each four that has an upper part."""
    build = emitter.build
    fours = []
    for half, whole in enumerate(wholes):
        nearest = build.ashr(build.add(whole, constant(I32, 1 << (PART_BITS - 1))), constant(I32, PART_BITS))
        stands_out = build.icmp_unsigned(">", build.add(whole, constant(I32, _MOST)), constant(I32, 2 * _MOST))
        upper = build.select(stands_out, nearest, constant(I32, 0))
        lower = build.sub(whole, build.shl(upper, constant(I32, PART_BITS)))
        upper_bytes = build.trunc(upper, vector(I8))
        emitter.store(build.trunc(lower, vector(I8)), lowers, LANES * half)
        emitter.store(upper_bytes, uppers, LANES * half)
        fours.append(build.bitcast(upper_bytes, vector(I32, LANES // FOUR)))
    both = build.shuffle_vector(*fours, ir.Constant(vector(I32, GROUP // FOUR), list(range(GROUP // FOUR))))
    return build.bitcast(build.icmp_signed("!=", both, constant(I32, 0, GROUP // FOUR)), I8)


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
            active = emitter.times(gate, _sigmoid(emitter, gate))
        else:
            cube = emitter.times(emitter.times(gate, gate), gate)
            inner = emitter.plus_product(gate, cube, constant(F32, 0.044715))
            # With the scale below: gelu(x) = x * (1 + tanh(u)) / 2 = x * sigmoid(2 u).
            scaled = emitter.times(inner, constant(F32, 2 * math.sqrt(2 / math.pi)))
            active = emitter.times(gate, _sigmoid(emitter, scaled))
        emitter.store(emitter.times(active, value), out, build.mul(pair.index, int64(_STEP)))
    return emitter.finish()


def exponential(emitter: Emitter, values: Value) -> Value:
    """Returns `exp` of a vector, off by at most two units in the last place; below -87 as at -87.

    By `exp(x) = 2**n * exp(r)` with |r| <= ln(2) / 2, and Moshier's polynomial for `exp(r)` (Cephes, `expf`).
    """
    build = emitter.build
    bounded = emitter.smaller(emitter.greater(values, constant(F32, -87.0)), constant(F32, 88.0))
    whole = emitter.unary("rint", emitter.times(bounded, constant(F32, math.log2(math.e))))
    rest = emitter.plus_product(bounded, whole, constant(F32, -0.693359375))
    rest = emitter.plus_product(rest, whole, constant(F32, 2.12194440e-4))
    series = constant(F32, 1.9875691500e-4)
    for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1.0, 1.0):
        series = emitter.plus_product(constant(F32, factor), series, rest)
    power = build.shl(build.add(build.fptosi(whole, vector(I32)), constant(I32, 127)), constant(I32, 23))
    return emitter.times(series, build.bitcast(power, vector(F32)))


def power_of_two(emitter: Emitter, values: Value) -> Value:
    """Returns `2**x` of a vector of numbers up to 0, off by at most three millionths; exactly 0 from -127 down.

    By `2**x = 2**n * 2**r` with |r| <= 1/2: the polynomial for `2**r` has the least greatest error there of those that
    are 1 at 0, and `n` is added to its exponent.
    """
    build = emitter.build
    bounded = emitter.greater(values, constant(F32, -127.0))
    whole = emitter.unary("rint", bounded)
    rest = build.fsub(bounded, whole)
    series = constant(F32, 9.582852944731712e-3)
    for factor in (5.5906426161527634e-2, 2.4024099111557007e-1, 6.931241750717163e-1, 1.0):
        series = emitter.plus_product(constant(F32, factor), series, rest)
    exponent = build.shl(build.fptosi(whole, vector(I32)), constant(I32, 23))
    return build.bitcast(build.add(build.bitcast(series, vector(I32)), exponent), vector(F32))


def hyperbolic_tangent(emitter: Emitter, values: Value) -> Value:
    """Returns `tanh` of a vector: `2 sigmoid(2x) - 1`."""
    sigmoid = _sigmoid(emitter, emitter.times(values, constant(F32, 2.0)))
    return emitter.plus_product(constant(F32, -1.0), sigmoid, constant(F32, 2.0))


def _sigmoid(emitter: Emitter, values: Value) -> Value:
    negative = emitter.times(values, constant(F32, -1.0))
    below = emitter.plus(exponential(emitter, negative), constant(F32, 1.0))
    return emitter.build.fdiv(constant(F32, 1.0), below)
