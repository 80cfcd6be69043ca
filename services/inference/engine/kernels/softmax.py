"""Makes a query's scores the weights of the values that it attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llvmlite import ir

from services.inference.engine.kernels.attention_shape import BLOCK, TILE, block_at
from services.inference.engine.kernels.byte_rounding import round_to_bytes
from services.kernels.elementary import power_of_two
from services.kernels.emitter import (
    F32,
    I8,
    I32,
    LANES,
    constant,
    float32,
    int64,
    vector,
)

if TYPE_CHECKING:
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.kernels.emitter import Emitter, Value
    from services.kernels.processor import Processor

TILE_SCALE = TILE
"""Where among the bytes of a tile's scores a weight's unit is, behind the weights: they take the scores' place."""
_LOWEST = -3.0e38
_STEP = 4 * LANES


def first_attended(emitter: Emitter, position: Value, window: Value) -> Value:
    """Returns the first token that one at a position attends to."""
    build = emitter.build
    first = build.sub(build.add(position, int64(1)), window)
    return build.select(build.icmp_signed(">", first, int64(0)), first, int64(0))


@dataclass(frozen=True, slots=True)
class Softmax:
    """Written once for queries whose scores are of the same tokens.

    A weight is a power of two, times the scale of its token's values, rounded to 8 bits: 64 tokens with one unit.
    """

    emitter: Emitter
    """The function that is written."""
    shape: AttentionShape
    processor: Processor
    window: Value
    """Tokens that are attended to, a query's own among them."""
    begin: Value
    """Position of the first score's token."""
    count: Value
    """Number of tokens."""
    padded: Value
    """As many, in whole tiles."""
    values: Value
    """Where they are, from the first token's on."""

    def write(self, scores: Value, position: Value) -> Value:
        """Writes it for one query; returns the float that makes the sum of its weights one.

        Args:
            scores: Where they are: floats, up to whole tiles, as powers of two.
            position: Of the query.
        """
        emitter = self.emitter
        build = emitter.build
        largest = self._mask(scores, position)
        with emitter.loop(int64(0), self.padded, [constant(F32, 0.0)], step=TILE) as tile:
            of_tile = emitter.at(scores, build.mul(tile.index, int64(4)))
            (sum_,) = tile.carried
            weights = []
            for part in range(TILE // LANES):
                power = power_of_two(
                    emitter, build.fsub(emitter.load(vector(F32), of_tile, _STEP * part), largest), self.processor
                )
                sum_ = emitter.plus(sum_, power)
                weight = emitter.times(power, self._value_scales(build.add(tile.index, int64(LANES * part))))
                # A scale that was never written need not be a number.
                weights.append(emitter.greater(weight, constant(F32, 0.0)))
            integers, unit = round_to_bytes(emitter, weights, signed=False)
            for part, integer in enumerate(integers):
                emitter.store(build.trunc(integer, vector(I8)), of_tile, LANES * part)
            emitter.store(unit, of_tile, TILE_SCALE)
            tile.next = [sum_]
        return build.fdiv(float32(1.0), emitter.reduce(tile.carried[0], emitter.plus))

    def _mask(self, scores: Value, position: Value) -> Value:
        """Makes scores of what is not attended to the lowest; returns 16 times the largest of the others."""
        emitter = self.emitter
        build = emitter.build
        first = build.sub(first_attended(emitter, position, self.window), self.begin)
        end = build.sub(build.add(position, int64(1)), self.begin)
        whole = build.and_(build.add(first, int64(LANES - 1)), int64(-LANES))
        last = build.and_(end, int64(-LANES))
        last = build.select(build.icmp_signed(">", last, whole), last, whole)
        largest = constant(F32, _LOWEST)
        for begin, until in ((int64(0), whole), (last, self.padded)):
            with emitter.loop(begin, until, [largest], step=LANES) as part:
                masked = self._masked(scores, part.index, first, end)
                emitter.store(masked, scores, build.mul(part.index, int64(4)))
                part.next = [emitter.greater(part.carried[0], masked)]
            (largest,) = part.carried
        with emitter.loop(whole, last, [largest], step=LANES) as part:
            values = emitter.load(vector(F32), scores, build.mul(part.index, int64(4)))
            part.next = [emitter.greater(part.carried[0], values)]
        return emitter.splat(emitter.reduce(part.carried[0], emitter.greater))

    def _masked(self, scores: Value, index: Value, first: Value, end: Value) -> Value:
        emitter = self.emitter
        build = emitter.build
        values = emitter.load(vector(F32), scores, build.mul(index, int64(4)))
        places = ir.Constant(vector(I32), list(range(LANES)))
        # A comparison without a sign holds neither below the first nor beyond the last.
        place = build.add(emitter.splat(build.trunc(build.sub(index, first), I32)), places)
        attended = emitter.splat(build.trunc(build.sub(end, first), I32))
        return build.select(build.icmp_unsigned("<", place, attended), values, constant(F32, _LOWEST))

    def _value_scales(self, token: Value) -> Value:
        """Returns the scales of 16 tokens' values; beyond the last block those of that one, which count for nothing."""
        build = self.emitter.build
        last = build.and_(build.sub(self.count, int64(1)), int64(-BLOCK))
        within = build.select(build.icmp_signed("<", token, last), token, last)
        block = block_at(self.emitter, self.shape, self.values, within)
        return self.emitter.load(vector(F32), block, BLOCK * self.shape.head_size)
