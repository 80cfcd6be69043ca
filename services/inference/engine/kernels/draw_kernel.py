"""What drawing a token does to all of a vocabulary: makes logits weights, and finds those that are large enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.elementary import power_of_two
from services.kernels.emitter import ADDRESS, F32, I1, I16, I64, LANES, Emitter, constant, int64, vector

if TYPE_CHECKING:
    from services.kernels.processor import Processor

BLOCK = 256
"""Weights that stand together, by their sum, where one is looked for among all."""
_VECTOR = 4 * LANES
"""Bytes."""
_LOWEST = -1000.0
"""Powers of two with less are 0, and minus infinity is no number to reckon with."""


def write_weigh(module: Any, processor: Processor) -> None:
    """Makes each logit `2**(factor * (logit - largest))`: `weigh(logits, count, factor, least, weights, sums)`.

    Weights below `least` become 0. `count` is a multiple of 16; `sums` are those of `BLOCK` weights each, fp32. The
    largest logit is no infinity.
    """
    emitter = Emitter(module, "weigh", [ADDRESS, I64, F32, F32, ADDRESS, ADDRESS])
    logits, count, factor, least, weights, sums = emitter.arguments
    build = emitter.build
    with emitter.loop(int64(0), count, [constant(F32, float("-inf"))], step=LANES) as part:
        place = build.mul(part.index, int64(4))
        part.next = [emitter.greater(emitter.load(vector(F32), logits, place), part.carried[0])]
    largest = emitter.splat(emitter.reduce(part.carried[0], emitter.greater))
    factors, leasts = emitter.splat(factor), emitter.splat(least)
    with emitter.loop(int64(0), count, step=BLOCK) as block:
        end = emitter.least(build.add(block.index, int64(BLOCK)), count)
        with emitter.loop(block.index, end, [constant(F32, 0.0)], step=LANES) as part:
            place = build.mul(part.index, int64(4))
            below = build.fsub(emitter.load(vector(F32), logits, place), largest)
            exponent = emitter.greater(emitter.times(below, factors), constant(F32, _LOWEST))
            weight = power_of_two(emitter, exponent, processor)
            kept = build.select(build.fcmp_ordered(">=", weight, leasts), weight, constant(F32, 0.0))
            emitter.store(kept, weights, place)
            part.next = [emitter.plus(part.carried[0], kept)]
        sum_ = emitter.reduce(part.carried[0], emitter.plus)
        emitter.store(sum_, sums, build.mul(build.sdiv(block.index, int64(BLOCK)), int64(4)))
    emitter.finish()


def write_collect(module: Any) -> None:
    """Finds the weights that are at least so large: `collect(weights, count, least, tokens, found)`.

    `count` is a multiple of 16. `tokens` are their numbers, rising, 64-bit integers; `found` is how many they are.
    """
    emitter = Emitter(module, "collect", [ADDRESS, I64, F32, ADDRESS, ADDRESS])
    weights, count, least, tokens, found = emitter.arguments
    build = emitter.build
    leasts = emitter.splat(least)
    emitter.store(int64(0), found)
    with emitter.loop(int64(0), count, step=LANES) as part:
        weight = emitter.load(vector(F32), weights, build.mul(part.index, int64(4)))
        bits = build.bitcast(build.fcmp_ordered(">=", weight, leasts), I16)
        with (
            emitter.when(build.icmp_unsigned("!=", bits, I16(0))),
            emitter.loop(int64(0), int64(LANES)) as lane,
            emitter.when(build.trunc(build.lshr(bits, build.trunc(lane.index, I16)), I1)),
        ):
            number = emitter.load(I64, found)
            emitter.store(build.add(part.index, lane.index), tokens, build.mul(number, int64(8)))
            emitter.store(build.add(number, int64(1)), found)
    emitter.finish()
