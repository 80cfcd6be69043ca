"""Adds up values of one sequence, each times the weight that a query gives its token."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from services.inference.engine.kernels.attention_shape import BLOCK, FOUR, TILE, block_at
from services.kernels.emitter import F32, I8, I32, LANES, constant, float32, int64, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.inference.engine.kernels.softmax import Softmax
    from services.kernels.emitter import Emitter, Value
    from services.kernels.processor import Processor

_VECTOR = 4 * LANES
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Values:
    """Written for queries that give the same tokens weights.

    Weights are rounded a tile ahead of the values that are multiplied: what they are rounded by takes time to find.
    """

    emitter: Emitter
    """The function that is written."""
    shape: AttentionShape
    processor: Processor
    softmax: Softmax

    def write(self, queries: Sequence[Value], rows: Sequence[Value], outs: Sequence[Value]) -> None:
        """Writes it for up to `ROUNDED_AT_ONCE` queries, as many as there are registers for.

        Args:
            queries: Where they are, rounded.
            rows: Where each one's scores are, as `Softmax.prepare` leaves them.
            outs: Where each one's result goes: floats, a head.
        """
        emitter, parts = self.emitter, self.shape.parts
        build = emitter.build
        count, padded = len(queries), self.softmax.padded
        with emitter.loop(int64(0), padded, [constant(F32, 0.0)] * count, step=BLOCK) as block:
            powers = self.softmax.weigh(queries, rows, block.index)
            block.next = [emitter.plus(sum_, power) for sum_, power in zip(block.carried, powers, strict=True)]
        sums = block.carried
        begin = [self.softmax.round(rows, int64(0)), *[constant(F32, 0.0)] * (count * parts)]
        with emitter.loop(int64(0), padded, begin, step=TILE) as tile:
            units, *totals = tile.carried
            following = build.add(tile.index, int64(TILE))
            next_units = emitter.values_if(
                build.icmp_signed("<", following, padded), partial(self._rounded, rows, following), [units]
            )
            with emitter.loop(tile.index, following, [constant(I32, 0)] * len(totals), step=BLOCK) as block:
                block.next = self._products(rows, block.index, block.carried)
            spread = [emitter.spread(units, number) for number in range(count)]
            totals = [
                emitter.plus_product(total, build.sitofp(own, vector(F32)), spread[place // parts])
                for place, (total, own) in enumerate(zip(totals, block.carried, strict=True))
            ]
            tile.next = [*next_units, *totals]
        _, *totals = tile.carried
        for number, out in enumerate(outs):
            sum_ = emitter.reduce(sums[number], emitter.plus)
            factor = emitter.splat(build.fdiv(float32(1.0), sum_))
            for part, total in enumerate(totals[number * parts : (number + 1) * parts]):
                emitter.store(emitter.times(total, factor), out, _VECTOR * part)

    def _rounded(self, rows: Sequence[Value], tile: Value) -> list[Value]:
        return [self.softmax.round(rows, tile)]

    def _products(self, rows: Sequence[Value], token: Value, sums: Sequence[Value]) -> list[Value]:
        """Returns sums with the products of a block added: for each row of weights a head's vectors."""
        emitter, parts = self.emitter, self.shape.parts
        block = block_at(emitter, self.shape, self.softmax.values, token)
        for four in range(0, BLOCK, FOUR):
            values = [
                emitter.load(vector(I8, _VECTOR), block, four * self.shape.head_size + _VECTOR * part)
                for part in range(parts)
            ]
            weights = [emitter.splat_four(emitter.at(row, token), four) for row in rows]
            sums = [
                self.processor.plus_products(emitter, sum_, weights[place // parts], values[place % parts], 8)
                for place, sum_ in enumerate(sums)
            ]
        return list(sums)
