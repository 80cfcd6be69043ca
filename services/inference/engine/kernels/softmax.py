"""Makes scores of queries the weights of the values that they attend to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llvmlite import ir

from services.inference.engine.kernels.attention_shape import BLOCK, LOWEST, TILE, block_at
from services.inference.engine.kernels.byte_rounding import LEAST
from services.kernels.elementary import power_of_two
from services.kernels.emitter import F32, I8, I32, LANES, constant, float32, int64, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.kernels.attention_scores import Inner
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.kernels.emitter import Emitter, Value
    from services.kernels.processor import Processor

ROUNDED_AT_ONCE = 4
"""Most queries whose largest weights are found together."""
_MOST = 255.0
_VECTOR = 4 * LANES
"""Bytes."""


def first_attended(emitter: Emitter, position: Value, window: Value) -> Value:
    """Returns the first token that one at a position attends to."""
    build = emitter.build
    return emitter.most(build.sub(build.add(position, int64(1)), window), int64(0))


@dataclass(frozen=True, slots=True)
class Softmax:
    """Written for queries whose scores are of the same tokens.

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
    inner: Inner
    """Tokens that all queries attend to."""
    values: Value
    """Where they are, from the first token's on."""

    def prepare(self, query: Value, row: Value, position: Value) -> None:
        """Makes scores of what a query does not attend to the lowest.

        Args:
            query: Where it is, rounded; what is added to its scores is kept there.
            row: Where its scores are.
            position: Of the query.
        """
        emitter, shape = self.emitter, self.shape
        build = emitter.build
        first = build.sub(first_attended(emitter, position, self.window), self.begin)
        end = build.sub(build.add(position, int64(1)), self.begin)
        largest = emitter.load(vector(F32), query, shape.top)
        for begin, until in ((int64(0), self.inner.begin), (self.inner.end, self.padded)):
            with emitter.loop(begin, until, [largest], step=LANES) as part:
                masked = self._masked(row, part.index, first, end)
                emitter.store(masked, row, build.mul(part.index, int64(4)))
                part.next = [emitter.greater(part.carried[0], masked)]
            (largest,) = part.carried
        most = emitter.times(emitter.reduce(largest, emitter.greater), self._scale(query))
        emitter.store(emitter.times(most, float32(-1.0)), query, shape.addend)

    def weigh(self, queries: Sequence[Value], rows: Sequence[Value], token: Value) -> list[Value]:
        """Makes scores of 16 tokens weights that are not rounded yet; returns each query's powers of two.

        Args:
            queries: Where they are, rounded.
            rows: Where each one's scores are; the weights take their places.
            token: The first one's number.
        """
        emitter = self.emitter
        scales = self._value_scales(token)
        place = emitter.build.mul(token, int64(4))
        powers = []
        for query, row in zip(queries, rows, strict=True):
            scale = emitter.splat(self._scale(query))
            addend = emitter.splat(emitter.load(F32, query, self.shape.addend))
            score = emitter.plus_product(addend, emitter.load(vector(F32), row, place), scale)
            powers.append(power_of_two(emitter, score, self.processor))
            emitter.store(emitter.times(powers[-1], scales), row, place)
        return powers

    def round(self, rows: Sequence[Value], tile: Value) -> Value:
        """Rounds a tile's weights of up to `ROUNDED_AT_ONCE` queries; returns of each the float that 1 stands for.

        Args:
            rows: Where each one's weights are. Integers of 8 bits follow one another there then.
            tile: The first token's number.

        Returns:
            A vector, a quarter for each query.
        """
        emitter = self.emitter
        build = emitter.build
        place = build.mul(tile, int64(4))
        weights = [
            [emitter.load(vector(F32), emitter.at(row, place), _VECTOR * part) for part in range(TILE // LANES)]
            for row in rows
        ]
        tops = [emitter.greater(emitter.greater(*own[:2]), emitter.greater(*own[2:])) for own in weights]
        # Where there are fewer, the last counts several times.
        four = [tops[min(number, len(tops) - 1)] for number in range(ROUNDED_AT_ONCE)]
        largest = emitter.reduce_four(four, emitter.greater)
        some = build.fcmp_ordered(">", largest, constant(F32, LEAST))
        inverses = build.select(some, build.fdiv(constant(F32, _MOST), largest), constant(F32, 0.0))
        for number, (row, own) in enumerate(zip(rows, weights, strict=True)):
            inverse = emitter.spread(inverses, number)
            for part, values in enumerate(own):
                integers = build.trunc(emitter.nearest(values, inverse), vector(I8))
                emitter.store(integers, emitter.at(row, tile), LANES * part)
        return emitter.times(largest, constant(F32, 1 / _MOST))

    def _scale(self, query: Value) -> Value:
        """Returns the float that a query's scores are to be multiplied by."""
        # Where they are capped they have been.
        return self.emitter.load(F32, query, self.shape.ratios) if self.shape.cap is None else float32(1.0)

    def _masked(self, scores: Value, index: Value, first: Value, end: Value) -> Value:
        emitter = self.emitter
        build = emitter.build
        values = emitter.load(vector(F32), scores, build.mul(index, int64(4)))
        places = ir.Constant(vector(I32), list(range(LANES)))
        # A comparison without a sign holds neither below the first nor beyond the last.
        place = build.add(emitter.splat(build.trunc(build.sub(index, first), I32)), places)
        attended = emitter.splat(build.trunc(build.sub(end, first), I32))
        return build.select(build.icmp_unsigned("<", place, attended), values, constant(F32, LOWEST))

    def _value_scales(self, token: Value) -> Value:
        """Returns the scales of 16 tokens' values; beyond the last block those of that one, which count for nothing."""
        build = self.emitter.build
        last = build.and_(build.sub(self.count, int64(1)), int64(-BLOCK))
        block = block_at(self.emitter, self.shape, self.values, self.emitter.least(token, last))
        return self.emitter.load(vector(F32), block, BLOCK * self.shape.head_size)
