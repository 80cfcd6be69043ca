"""Elementary functions of vectors of 16 floats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from services.kernels.emitter import F32, I32, constant, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kernels.emitter import Emitter, Value
    from services.kernels.processor import Processor

_UP_TO_ONE = (1.3426684923332387e-2, 5.224247271375879e-2, 2.4128020591404684e-1, 6.930448446223909e-1, 1.0)
_AROUND_ZERO = (9.582852944731712e-3, 5.5906426161527634e-2, 2.4024099111557007e-1, 6.931241750717163e-1, 1.0)
_EXPONENTIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
    1.0,
    1.0,
)
_ERF_END = 3.55
_ERF = (
    0.00182930031,
    -0.00481702155,
    0.0050388719,
    -0.0077379318,
    0.0185806137,
    -0.0322168581,
    0.0469427928,
    -0.0662167221,
    0.0891264006,
    -0.114282817,
    0.145298839,
    -0.198071867,
    0.398216516,
)


def exponential(emitter: Emitter, values: Value) -> Value:
    """Returns `exp` of a vector, off by at most two units in the last place; below -87 as at -87.

    By `exp(x) = 2**n * exp(r)` with |r| <= ln(2) / 2, and Moshier's polynomial for `exp(r)` (Cephes, `expf`).
    """
    build = emitter.build
    bounded = emitter.smaller(emitter.greater(values, constant(F32, -87.0)), constant(F32, 88.0))
    whole = emitter.unary("rint", emitter.times(bounded, constant(F32, math.log2(math.e))))
    rest = emitter.plus_product(bounded, whole, constant(F32, -0.693359375))
    rest = emitter.plus_product(rest, whole, constant(F32, 2.12194440e-4))
    series = _polynomial(emitter, rest, _EXPONENTIAL)
    power = build.shl(build.add(build.fptosi(whole, vector(I32)), constant(I32, 127)), constant(I32, 23))
    return emitter.times(series, build.bitcast(power, vector(F32)))


def power_of_two(emitter: Emitter, values: Value, processor: Processor) -> Value:
    """Returns `2**x` of a vector of numbers up to 0, off by at most three millionths; exactly 0 from -150 down.

    By `2**x = 2**n * 2**r`: the polynomial for `2**r` has the least greatest error, where `r` lies, of those that are 1
    at 0. Where the processor has instructions for it, `n` is the whole number below `x`. Elsewhere it is the nearest
    one, is added to the exponent, and what is below the normal numbers is 0.
    """
    build = emitter.build
    if processor.multiplies_by_powers:
        series = _polynomial(emitter, processor.fraction(emitter, values), _UP_TO_ONE)
        return processor.times_power(emitter, series, values)
    bounded = emitter.greater(values, constant(F32, -127.0))
    whole = emitter.unary("rint", bounded)
    series = _polynomial(emitter, build.fsub(bounded, whole), _AROUND_ZERO)
    exponent = build.shl(build.fptosi(whole, vector(I32)), constant(I32, 23))
    return build.bitcast(build.add(build.bitcast(series, vector(I32)), exponent), vector(F32))


def hyperbolic_tangent(emitter: Emitter, values: Value) -> Value:
    """Returns `tanh` of a vector: `2 sigmoid(2x) - 1`."""
    half = sigmoid(emitter, emitter.times(values, constant(F32, 2.0)))
    return emitter.plus_product(constant(F32, -1.0), half, constant(F32, 2.0))


def sigmoid(emitter: Emitter, values: Value) -> Value:
    """Returns `1 / (1 + exp(-x))` of a vector."""
    negative = emitter.times(values, constant(F32, -1.0))
    below = emitter.plus(exponential(emitter, negative), constant(F32, 1.0))
    return emitter.build.fdiv(constant(F32, 1.0), below)


def error_function(emitter: Emitter, values: Value) -> Value:
    """Returns `erf` of a vector, off by less than a millionth.

    By a polynomial in the square, of the least greatest error up to 3.55, from where on the result is 1.
    """
    bounded = emitter.smaller(emitter.greater(values, constant(F32, -_ERF_END)), constant(F32, _ERF_END))
    square = emitter.times(bounded, bounded)
    # From -1 to 1.
    place = emitter.plus_product(constant(F32, -1.0), square, constant(F32, 2 / _ERF_END**2))
    return emitter.times(bounded, _polynomial(emitter, place, _ERF))


def _polynomial(emitter: Emitter, values: Value, factors: Sequence[float]) -> Value:
    """Returns a polynomial of a vector, the factor of its highest power given first."""
    first, *others = factors
    series = constant(F32, first)
    for factor in others:
        series = emitter.plus_product(constant(F32, factor), series, values)
    return series
