"""Reads keys and values for queries of one sequence.

All that is multiplied are integers of 8 bits, four products at a time: keys are kept in fours of a head's numbers, 32
of which share a scale, as in queries; values in fours of tokens, each of which has a scale. What scores become is
rounded too, once the values' scales are in it, 64 tokens with one scale. Scores are held whole and tokens are counted
from the sequence's first, so a token's result is the same in whatever company it is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.attention_shape import (
    BLOCK,
    FOUR,
    GROUP,
    GROUP_BYTES,
    SCORES_AT_ONCE,
    TILE,
    block_at,
)
from services.inference.engine.kernels.byte_rounding import round_to_bytes
from services.inference.engine.kernels.head_rotation import HeadRotation
from services.inference.engine.kernels.softmax import TILE_SCALE, Softmax, first_attended
from services.kernels.elementary import hyperbolic_tangent
from services.kernels.emitter import (
    ADDRESS,
    F32,
    I8,
    I32,
    I64,
    LANES,
    Emitter,
    constant,
    int32,
    int64,
    vector,
)

if TYPE_CHECKING:
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.kernels.emitter import Value
    from services.kernels.processor import Processor

_STEP = 4 * LANES
_SUMS_AT_ONCE = 24
"""Vectors of results that are in registers while values are read: as many as leave room for the values themselves."""
_BYTES = 4 * LANES


@dataclass(frozen=True, slots=True)
class AttendedRows:
    """What tokens of one sequence that follow one another have to do with one head of keys: addresses and numbers."""

    queries: Value
    """Floats, not yet rotated, of the heads that share the head of keys."""
    query_bytes: Value
    """From one token's to the next."""
    keys: Value
    values: Value
    cosines: Value
    sines: Value
    """One token's follow the other's."""
    query_norm: Value
    window: Value
    """Tokens that are attended to, a token's own among them."""
    position: Value
    """The first one's."""
    out: Value
    out_bytes: Value
    """From one token's to the next."""
    own_queries: Value
    scores: Value
    """Room to work in, as `WorkspaceField` has it."""


def write_attend(module: Any, shape: AttentionShape, norm: Any, processor: Processor, rows: int) -> Any:
    """Adds and returns the function that reads for so many tokens that follow one another: takes `AttendedRows`."""
    return _AttendWriter(module, shape, norm, processor, rows).write()


class _AttendWriter:
    def __init__(self, module: Any, shape: AttentionShape, norm: Any, processor: Processor, rows: int) -> None:
        numbers = {"query_bytes", "window", "position", "out_bytes"}
        kinds = [I64 if field.name in numbers else ADDRESS for field in fields(AttendedRows)]
        self._emitter = Emitter(module, f"attend{rows}", kinds)
        self._given = AttendedRows(*self._emitter.arguments)
        self._shape = shape
        self._norm = norm
        self._processor = processor
        self._rows = rows
        self._queries = rows * shape.shared_by

    def write(self) -> Any:
        emitter, shape, given = self._emitter, self._shape, self._given
        build = emitter.build
        with emitter.loop(int64(0), int64(self._queries)) as query:
            self._round_query(query.index)
        begin = build.and_(first_attended(emitter, given.position, given.window), int64(-TILE))
        self._count = build.sub(build.add(given.position, int64(self._rows)), begin)
        padded = build.and_(build.add(self._count, int64(TILE - 1)), int64(-TILE))
        self._padded, self._score_bytes = padded, build.mul(padded, int64(4))
        keys, values = (block_at(emitter, shape, cached, begin) for cached in (given.keys, given.values))
        for number in range(0, self._queries, SCORES_AT_ONCE):
            self._score(range(number, min(number + SCORES_AT_ONCE, self._queries)), keys)
        softmax = Softmax(emitter, shape, self._processor, given.window, begin, self._count, padded, values)
        with emitter.loop(int64(0), int64(self._queries)) as query:
            position = build.add(given.position, self._row(query.index))
            factor = softmax.write(self._scores_of(query.index), position)
            emitter.store(factor, self._query(query.index), shape.factor)
        together = max(1, _SUMS_AT_ONCE // shape.parts)
        whole = self._queries - self._queries % together
        with emitter.loop(int64(0), int64(whole), step=together) as query:
            self._read(query.index, together, values)
        if whole < self._queries:
            self._read(int64(whole), self._queries - whole, values)
        return emitter.finish()

    def _row(self, number: Value) -> Value:
        """Returns the number of a query's token."""
        return self._emitter.build.sdiv(number, int64(self._shape.shared_by))

    def _query(self, number: Value) -> Value:
        """Returns where a rounded query is."""
        emitter = self._emitter
        return emitter.at(self._given.own_queries, emitter.build.mul(number, int64(self._shape.query_bytes)))

    def _scores_of(self, number: Value) -> Value:
        """Returns where a query's scores are, and its weights then."""
        emitter = self._emitter
        return emitter.at(self._given.scores, emitter.build.mul(number, self._score_bytes))

    def _head(self, rows: Value, row_bytes: Value, number: Value) -> Value:
        """Returns where a query's head is among rows of such heads."""
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        of_row = emitter.at(rows, build.mul(row_bytes, self._row(number)))
        return emitter.at(of_row, build.mul(build.srem(number, int64(shape.shared_by)), int64(4 * shape.head_size)))

    def _round_query(self, number: Value) -> None:
        """Rotates and rounds a query, scaled so that 2 to the power of a score is what softmax takes."""
        emitter, shape, given = self._emitter, self._shape, self._given
        build = emitter.build
        scale = constant(F32, shape.scale if shape.cap is not None else shape.scale * math.log2(math.e))
        of_row = build.mul(self._row(number), int64(4 * shape.head_size))
        turn = [emitter.at(table, of_row) for table in (given.cosines, given.sines)]
        head, target = self._head(given.queries, given.query_bytes, number), self._query(number)
        rotated = HeadRotation(shape, self._norm, given.query_norm).rotated(emitter, head, *turn)
        parts = [emitter.times(part, scale) for part in rotated]
        for group in range(shape.groups):
            integers, group_scale = round_to_bytes(emitter, parts[2 * group : 2 * group + 2], signed=True)
            for half, part in enumerate(integers):
                emitter.store(build.trunc(part, vector(I8)), target, GROUP * group + LANES * half)
            emitter.store(group_scale, target, shape.head_size + 4 * group)
            sum_ = emitter.reduce(build.add(*integers), build.add)
            emitter.store(build.mul(sum_, int32(-128)), target, shape.offsets + 4 * group)

    def _score(self, numbers: range, keys: Value) -> None:
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        queries, rows = ([find(int64(n)) for n in numbers] for find in (self._query, self._scores_of))
        with emitter.loop(int64(0), self._count, step=BLOCK) as block:
            of_block = block_at(emitter, shape, keys, block.index)
            zeros = [constant(F32, 0.0)] * len(queries)
            with emitter.loop(int64(0), int64(shape.groups), zeros) as group:
                own, of_scale = build.mul(group.index, int64(GROUP)), build.mul(group.index, int64(4))
                # Read in the order in which they lie: with jumps even of a block less comes in a second.
                keys_of_group = emitter.at(of_block, build.mul(group.index, int64(GROUP_BYTES)))
                products = [
                    emitter.splat(emitter.load(I32, emitter.at(query, of_scale), shape.offsets)) for query in queries
                ]
                for number in range(GROUP // FOUR):
                    fours = emitter.load(vector(I8, _BYTES), keys_of_group, _BYTES * number)
                    products = [
                        self._processor.plus_products(
                            emitter, sum_, fours, self._splat_four(emitter.at(query, own), FOUR * number), 8
                        )
                        for sum_, query in zip(products, queries, strict=True)
                    ]
                key_scales = emitter.load(vector(F32), keys_of_group, BLOCK * GROUP)
                group.next = [
                    emitter.plus_product(
                        total,
                        emitter.times(build.sitofp(sum_, vector(F32)), key_scales),
                        emitter.splat(emitter.load(F32, emitter.at(query, of_scale), shape.head_size)),
                    )
                    for total, sum_, query in zip(group.carried, products, queries, strict=True)
                ]
            for sum_, row in zip(group.carried, rows, strict=True):
                emitter.store(self._capped(sum_), row, build.mul(block.index, int64(4)))

    def _splat_four(self, address: Value, offset: Value) -> Value:
        """Returns 64 bytes: the four at an address, over and over."""
        emitter = self._emitter
        return emitter.build.bitcast(emitter.splat(emitter.load(I32, address, offset)), vector(I8, _BYTES))

    def _capped(self, scores: Value) -> Value:
        emitter, cap = self._emitter, self._shape.cap
        if cap is None:
            return scores
        bounded = hyperbolic_tangent(emitter, emitter.times(scores, constant(F32, 1 / cap)))
        return emitter.times(bounded, constant(F32, cap * math.log2(math.e)))

    def _read(self, first: Value, count: int, values: Value) -> None:
        """Adds up values for so many queries, each value times the query's weight for its token."""
        emitter, shape, given = self._emitter, self._shape, self._given
        build = emitter.build
        numbers = [build.add(first, int64(n)) for n in range(count)]
        rows = [self._scores_of(number) for number in numbers]
        at_once = min(shape.parts, _SUMS_AT_ONCE // 2)
        for part in range(0, shape.parts, at_once):
            parts = range(part, min(part + at_once, shape.parts))
            sums = self._sums(rows, values, parts)
            for number, row in zip(numbers, range(0, len(sums), len(parts)), strict=True):
                factor = emitter.splat(emitter.load(F32, self._query(number), shape.factor))
                out = self._head(given.out, given.out_bytes, number)
                for which, sum_ in zip(parts, sums[row : row + len(parts)], strict=True):
                    emitter.store(emitter.times(sum_, factor), out, _STEP * which)

    def _sums(self, scores: list[Value], values: Value, parts: range) -> list[Value]:
        """Returns for each row of weights the sums for some of a head's vectors."""
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        count = len(scores) * len(parts)
        with emitter.loop(int64(0), self._padded, [constant(F32, 0.0)] * count, step=TILE) as tile:
            of_tile = build.mul(tile.index, int64(4))
            end = build.add(tile.index, int64(TILE))
            end = build.select(build.icmp_signed("<", end, self._count), end, self._count)
            with emitter.loop(tile.index, end, [constant(I32, 0)] * count, step=FOUR) as four:
                place = build.mul(build.and_(four.index, int64(BLOCK - FOUR)), int64(shape.head_size))
                of_four = emitter.at(block_at(emitter, shape, values, four.index), place)
                within = build.add(of_tile, build.sub(four.index, tile.index))
                fours = [emitter.load(vector(I8, _BYTES), of_four, _BYTES * part) for part in parts]
                weights = [self._splat_four(row, within) for row in scores]
                four.next = [
                    self._processor.plus_products(
                        emitter, sum_, weights[number // len(parts)], fours[number % len(parts)], 8
                    )
                    for number, sum_ in enumerate(four.carried)
                ]
            scales = [emitter.splat(emitter.load(F32, emitter.at(row, of_tile), TILE_SCALE)) for row in scores]
            tile.next = [
                emitter.plus_product(total, build.sitofp(sum_, vector(F32)), scales[number // len(parts)])
                for number, (total, sum_) in enumerate(zip(tile.carried, four.carried, strict=True))
            ]
        return tile.carried
