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

from services.inference.engine.kernels.attention_scores import Inner, Scores
from services.inference.engine.kernels.attention_shape import (
    BLOCK,
    BLOCKS_AT_ONCE,
    GROUP,
    SCORED_AT_ONCE,
    SUMS_AT_ONCE,
    TILE,
    block_at,
)
from services.inference.engine.kernels.attention_values import Values
from services.inference.engine.kernels.byte_rounding import round_to_bytes
from services.inference.engine.kernels.head_rotation import HeadRotation
from services.inference.engine.kernels.softmax import ROUNDED_AT_ONCE, Softmax, first_attended
from services.kernels.emitter import (
    ADDRESS,
    F32,
    I8,
    I64,
    LANES,
    Emitter,
    constant,
    float32,
    int32,
    int64,
    vector,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.kernels.emitter import Value
    from services.kernels.processor import Processor

_LEAST_SCALE = 1e-20
"""Of a query's first group, which other groups' are divided by: multiples of less are 0 beside anything else."""


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
        count = build.sub(build.add(given.position, int64(self._rows)), begin)
        padded = build.and_(build.add(count, int64(TILE - 1)), int64(-TILE))
        self._score_bytes = build.mul(padded, int64(4))
        keys, values = (block_at(emitter, shape, cached, begin) for cached in (given.keys, given.values))
        # Where one token is read for, keys come from afar: they are read one after another, as they lie.
        blocks = BLOCKS_AT_ONCE if self._rows > 1 else 1
        inner = self._inner(begin, blocks * BLOCK)
        scores = Scores(emitter, shape, self._processor, keys, count, inner, blocks)
        for queries in self._by(SCORED_AT_ONCE):
            scores.write(*([find(query) for query in queries] for find in (self._query, self._scores_of)))
        softmax = Softmax(emitter, shape, self._processor, given.window, begin, count, padded, inner, values)
        with emitter.loop(int64(0), int64(self._queries)) as query:
            position = build.add(given.position, self._row(query.index))
            softmax.prepare(self._query(query.index), self._scores_of(query.index), position)
        adding = Values(emitter, shape, self._processor, softmax)
        for queries in self._by(min(max(1, SUMS_AT_ONCE // shape.parts), ROUNDED_AT_ONCE)):
            adding.write(*([find(query) for query in queries] for find in (self._query, self._scores_of, self._out)))
        return emitter.finish()

    def _inner(self, begin: Value, unit: int) -> Inner:
        """Returns the tokens that all attend to, counted from the first that is read."""
        emitter, given = self._emitter, self._given
        build = emitter.build
        # What the last of them attends to first, and the first of them last.
        first = first_attended(emitter, build.add(given.position, int64(self._rows - 1)), given.window)
        first = build.and_(build.add(build.sub(first, begin), int64(unit - 1)), int64(-unit))
        end = build.and_(build.sub(build.add(given.position, int64(1)), begin), int64(-unit))
        return Inner(first, emitter.most(end, first))

    def _by(self, most: int) -> Iterator[list[Value]]:
        """Writes loops that take on some queries at a time, as few times as may be; yields the numbers of these."""
        times = -(-self._queries // most)
        size, larger = divmod(self._queries, times)
        of_larger = larger * (size + 1)
        for begin, end, step in ((0, of_larger, size + 1), (of_larger, self._queries, size)):
            if begin < end:
                with self._emitter.loop(int64(begin), int64(end), step=step) as loop:
                    yield [self._emitter.build.add(loop.index, int64(number)) for number in range(step)]

    def _row(self, number: Value) -> Value:
        """Returns the number of a query's token."""
        return self._emitter.build.sdiv(number, int64(self._shape.shared_by))

    def _query(self, number: Value) -> Value:
        """Returns where a rounded query is."""
        emitter = self._emitter
        return emitter.at(self._given.own_queries, emitter.build.mul(number, int64(self._shape.query_bytes)))

    def _scores_of(self, number: Value) -> Value:
        """Returns where a query's scores are, and then its weights."""
        return self._emitter.at(self._given.scores, self._emitter.build.mul(number, self._score_bytes))

    def _out(self, number: Value) -> Value:
        """Returns where a query's result is."""
        return self._head(self._given.out, self._given.out_bytes, number)

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
        scales = []
        for group in range(shape.groups):
            integers, group_scale = round_to_bytes(emitter, parts[2 * group : 2 * group + 2], signed=True)
            for half, part in enumerate(integers):
                emitter.store(build.trunc(part, vector(I8)), target, GROUP * group + LANES * half)
            scales.append(group_scale)
            sum_ = emitter.reduce(build.add(*integers), build.add)
            emitter.store(build.mul(sum_, int32(-128)), target, shape.offsets + 4 * group)
        first = emitter.greater(scales[0], float32(_LEAST_SCALE))
        for group, ratio in enumerate([first, *(build.fdiv(other, first) for other in scales[1:])]):
            emitter.store(ratio, target, shape.ratios + 4 * group)
