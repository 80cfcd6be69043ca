"""Holds queries of one sequence against its keys."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.engine.kernels.attention_shape import (
    BLOCK,
    FOUR,
    GROUP,
    GROUP_BYTES,
    LOWEST,
    block_at,
    block_bytes,
)
from services.kernels.elementary import hyperbolic_tangent
from services.kernels.emitter import F32, I8, I32, constant, float32, int64, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.kernels.emitter import Emitter, Value
    from services.kernels.processor import Processor

_VECTOR = 4 * BLOCK
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Inner:
    """Tokens that all of some queries attend to: whole blocks, counted from the first token that is read."""

    begin: Value
    end: Value
    """Not before the first."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Written for queries that are held against the same tokens."""

    emitter: Emitter
    """The function that is written."""
    shape: AttentionShape
    processor: Processor
    keys: Value
    """Where they are, from the first token's on."""
    count: Value
    """Number of tokens."""
    inner: Inner
    blocks: int
    """Of keys, that queries are held against at once."""

    def write(self, queries: Sequence[Value], rows: Sequence[Value]) -> None:
        """Writes it for as many queries as there are registers for.

        Scores are powers of two, in units of the query's scale where they are not capped. Up to a unit of them is
        computed that nothing is known of: whatever comes of it is to be masked.

        Args:
            queries: Where they are, rounded.
            rows: Where each one's scores go.
        """
        emitter, top = self.emitter, self.shape.top
        build = emitter.build
        for query in queries:
            emitter.store(constant(F32, LOWEST), query, top)
        with emitter.loop(int64(0), self.count, step=self.blocks * BLOCK) as unit:
            scores = self._scores(queries, unit.index)
            is_inner = build.and_(
                build.icmp_signed(">=", unit.index, self.inner.begin),
                build.icmp_signed("<", unit.index, self.inner.end),
            )
            most = emitter.splat(build.select(is_inner, float32(-LOWEST), float32(LOWEST)))
            place = build.mul(unit.index, int64(4))
            for query, row, own in zip(queries, rows, scores, strict=True):
                largest = emitter.load(vector(F32), query, top)
                for number, part in enumerate(own):
                    emitter.store(part, emitter.at(row, place), _VECTOR * number)
                    largest = emitter.greater(emitter.smaller(part, most), largest)
                emitter.store(largest, query, top)

    def _scores(self, queries: Sequence[Value], token: Value) -> list[list[Value]]:
        """Returns for each query the scores of a unit."""
        emitter, shape = self.emitter, self.shape
        build = emitter.build
        first = block_at(emitter, shape, self.keys, token)
        blocks = [emitter.at(first, number * block_bytes(shape.head_size)) for number in range(self.blocks)]
        with emitter.loop(int64(1), int64(shape.groups), self._products(queries, blocks, int64(0))) as group:
            of_ratio = build.add(build.mul(group.index, int64(4)), int64(shape.ratios))
            ratios = [emitter.splat(emitter.load(F32, query, of_ratio)) for query in queries]
            group.next = [
                emitter.plus_product(total, products, ratios[place // self.blocks])
                for place, (total, products) in enumerate(
                    zip(group.carried, self._products(queries, blocks, group.index), strict=True)
                )
            ]
        totals = [group.carried[at : at + self.blocks] for at in range(0, len(group.carried), self.blocks)]
        cap = shape.cap
        if cap is None:
            return totals
        scales = [emitter.splat(emitter.load(F32, query, shape.ratios)) for query in queries]
        return [[self._capped(total, scale, cap) for total in own] for own, scale in zip(totals, scales, strict=True)]

    def _products(self, queries: Sequence[Value], blocks: Sequence[Value], group: Value) -> list[Value]:
        """Returns sums of a group's products, in units of the queries', for each query those with each block."""
        emitter, shape = self.emitter, self.shape
        build = emitter.build
        of_queries = [emitter.at(query, build.mul(group, int64(GROUP))) for query in queries]
        of_blocks = [emitter.at(block, build.mul(group, int64(GROUP_BYTES))) for block in blocks]
        of_offset = build.add(build.mul(group, int64(4)), int64(shape.offsets))
        sums = [emitter.splat(emitter.load(I32, query, of_offset)) for query in queries for _ in blocks]
        for number in range(GROUP // FOUR):
            fours = [emitter.load(vector(I8, _VECTOR), block, _VECTOR * number) for block in of_blocks]
            own = [emitter.splat_four(query, FOUR * number) for query in of_queries]
            sums = [
                self.processor.plus_products(emitter, sum_, fours[place % len(blocks)], own[place // len(blocks)], 8)
                for place, sum_ in enumerate(sums)
            ]
        scales = [emitter.load(vector(F32), block, BLOCK * GROUP) for block in of_blocks]
        return [
            emitter.times(build.sitofp(sum_, vector(F32)), scales[place % len(blocks)])
            for place, sum_ in enumerate(sums)
        ]

    def _capped(self, scores: Value, scale: Value, cap: float) -> Value:
        emitter = self.emitter
        share = emitter.times(emitter.times(scores, scale), constant(F32, 1 / cap))
        return emitter.times(hyperbolic_tangent(emitter, share), constant(F32, cap * math.log2(math.e)))
