"""Rounds a row of floats to what linears multiply, as `QuantizedRows` has it (decision 0024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.inference.engine.block_forms import FORMS, GROUP
from services.inference.engine.kernels.byte_rounding import LEAST
from services.inference.engine.kernels.linear_kernel import PART_BITS, ROWS_AT_ONCE
from services.inference.engine.kernels.weight_record import FOUR
from services.kernels.emitter import ADDRESS, F32, I8, I32, I64, LANES, Emitter, constant, int32, int64, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kernels.emitter import Value

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


def write_quantize(module: Any) -> Any:
    """Rounds a row as `QuantizedRows` has it.

    `(in, values, scales, sums, offsets, halves, outlying, groups, number, form)`, the last that of the weights.
    Rows that share a row of `outlying` come in order, the first of them first.
    """
    emitter = Emitter(module, "quantize", [ADDRESS] * 7 + [I64] * 3)
    row, values, scales, sums, offsets, halves, outlying, groups, number, form = emitter.arguments
    build = emitter.build
    is_first = build.icmp_signed("==", build.srem(number, int64(ROWS_AT_ONCE)), int64(0))
    uppers = emitter.at(values, build.mul(groups, int64(GROUP)))
    last = build.sub(groups, int64(1))
    places_of_centre = emitter.splat(_places_of_centre(emitter, form))
    with emitter.loop(int64(0), groups, step=_GROUPS_AT_ONCE) as begin:
        # Of a row whose groups are no multiple of four the last is computed several times.
        indices = [emitter.least(build.add(begin.index, int64(place)), last) for place in range(_GROUPS_AT_ONCE)]
        starts = [build.mul(index, int64(GROUP)) for index in indices]
        parts = [
            [emitter.load(vector(F32), row, build.add(build.mul(start, int64(4)), int64(_STEP * n))) for n in (0, 1)]
            for start in starts
        ]
        squares = [[emitter.times(half, half) for half in pair] for pair in parts]
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
            for place, pairs in enumerate(zip(squares, parts, strict=True))
        ]
        largest = emitter.reduce_four([emitter.greater(*pair) for pair in others], emitter.greater)
        # No value is larger than the root of all squares, for which two parts have to be enough.
        least = emitter.times(emitter.unary("sqrt", totals), constant(F32, 1 / (_MOST << PART_BITS)))
        steps = emitter.greater(emitter.times(largest, constant(F32, 1 / _MOST)), least)
        some = build.fcmp_ordered(">", steps, constant(F32, LEAST))
        inverses = build.select(some, build.fdiv(constant(F32, 1.0), steps), constant(F32, 0.0))
        wholes = [
            [emitter.nearest(half, emitter.spread(inverses, place)) for half in pair]
            for place, pair in enumerate(parts)
        ]
        for index, start, pair in zip(indices, starts, wholes, strict=True):
            with_upper = _store_parts(emitter, pair, emitter.at(values, start), emitter.at(uppers, start))
            kept = build.select(is_first, ir.Constant(I8, 0), emitter.load(I8, outlying, index))
            emitter.store(build.or_(kept, with_upper), outlying, index)
        integers = emitter.reduce_four([build.add(*pair) for pair in wholes], build.add)
        in_floats = emitter.times(build.sitofp(integers, vector(F32)), steps)
        shifted = build.shl(integers, places_of_centre)
        for quarters, buffer in ((steps, scales), (in_floats, sums), (shifted, offsets)):
            _store_quarters(emitter, quarters, buffer, [build.mul(index, int64(4)) for index in indices])
        with emitter.when(build.icmp_signed("==", form, int64(FORMS["Q6_K"].number))):
            for half in (0, 1):
                integers = emitter.reduce_four([pair[half] for pair in wholes], build.add)
                places = [build.add(build.mul(index, int64(8)), int64(4 * half)) for index in indices]
                _store_quarters(emitter, build.shl(integers, constant(I32, 5)), halves, places)
    return emitter.finish()


def _places_of_centre(emitter: Emitter, form: Value) -> Value:
    """Returns which power of two a form's centre is; any number where it has none."""
    build = emitter.build
    places: Value = int32(0)
    for facts in FORMS.values():
        if facts.centre is not None:
            is_this = build.icmp_signed("==", form, int64(facts.number))
            places = build.select(is_this, int32(facts.centre.bit_length() - 1), places)
    return places


def _store_quarters(emitter: Emitter, quarters: Value, buffer: Value, places: Sequence[Value]) -> None:
    """Stores what each quarter of a vector holds at a place of its own."""
    for number, place in enumerate(places):
        one = emitter.build.extract_element(quarters, int32(number * LANES // _GROUPS_AT_ONCE))
        emitter.store(one, buffer, place)


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
