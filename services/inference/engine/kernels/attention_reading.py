"""Reads keys and values for queries of one sequence.

All that is multiplied is bf16 (queries, and what scores become, are rounded to it), two products at a time: keys are
kept in pairs of a head's numbers, values in pairs of tokens. Scores are held whole, so a token's result is the same in
whatever company it is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.inference.engine.kernels.attention_shape import KEY_BLOCK, PAIR, SCORES_AT_ONCE
from services.inference.engine.kernels.emitter import (
    ADDRESS,
    F32,
    I32,
    I64,
    LANES,
    Emitter,
    constant,
    float32,
    int64,
    vector,
)
from services.inference.engine.kernels.head_rotation import HeadRotation
from services.inference.engine.kernels.row_kernels import hyperbolic_tangent, power_of_two

if TYPE_CHECKING:
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.inference.engine.kernels.emitter import Value
    from services.inference.engine.kernels.processor import Processor

_LOWEST = -3.0e38
_STEP = 4 * LANES
_SUMS_AT_ONCE = 24
"""Vectors of results that are in registers while values are read: as many as leave room for the values themselves."""
_UNROLLED = 4


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

    def write(self) -> Any:
        emitter, shape, given = self._emitter, self._shape, self._given
        build = emitter.build
        queries = self._rotate_queries()
        self._begin = build.and_(self._first(0), int64(-KEY_BLOCK))
        self._count = build.sub(build.add(given.position, int64(self._rows)), self._begin)
        padded = build.and_(build.add(self._count, int64(KEY_BLOCK - 1)), int64(-KEY_BLOCK))
        self._score_bytes = build.mul(padded, int64(4))
        scores = [emitter.at(given.scores, build.mul(self._score_bytes, int64(n))) for n in range(len(queries))]
        skipped = build.mul(self._begin, int64(2 * shape.head_size))
        keys, values = emitter.at(given.keys, skipped), emitter.at(given.values, skipped)
        for begin in range(0, len(scores), SCORES_AT_ONCE):
            self._score(queries[begin : begin + SCORES_AT_ONCE], keys, scores[begin : begin + SCORES_AT_ONCE])
        factors = [self._softmax(row, number // shape.shared_by) for number, row in enumerate(scores)]
        parts_at_once = min(shape.parts, _SUMS_AT_ONCE // 2)
        together = max(1, _SUMS_AT_ONCE // shape.parts)
        for begin in range(0, len(scores), together):
            taken = range(begin, min(begin + together, len(scores)))
            for part in range(0, shape.parts, parts_at_once):
                parts = range(part, min(part + parts_at_once, shape.parts))
                sums = iter(self._read([scores[n] for n in taken], values, parts))
                for number in taken:
                    row, head = divmod(number, shape.shared_by)
                    out = emitter.at(given.out, build.mul(given.out_bytes, int64(row)))
                    for which in parts:
                        place = 4 * shape.head_size * head + _STEP * which
                        emitter.store(emitter.times(next(sums), factors[number]), out, place)
        return emitter.finish()

    def _first(self, row: int) -> Value:
        """Returns the first token that a row attends to."""
        build, given = self._emitter.build, self._given
        first = build.sub(build.add(given.position, int64(row + 1)), given.window)
        return build.select(build.icmp_signed(">", first, int64(0)), first, int64(0))

    def _rotate_queries(self) -> list[Value]:
        """Returns where the rotated queries are, scaled so that 2 to the power of a score is what softmax takes."""
        emitter, shape, given = self._emitter, self._shape, self._given
        scale = constant(F32, shape.scale if shape.cap is not None else shape.scale * math.log2(math.e))
        rotation = HeadRotation(shape, self._norm, given.query_norm)
        head_bytes = 4 * shape.head_size
        queries: list[Value] = []
        for row in range(self._rows):
            of_row = emitter.at(given.queries, emitter.build.mul(given.query_bytes, int64(row)))
            turn = [emitter.at(table, head_bytes * row) for table in (given.cosines, given.sines)]
            for head in range(shape.shared_by):
                target = emitter.at(given.own_queries, 2 * shape.head_size * len(queries))
                for part, values in enumerate(rotation.rotated(emitter, emitter.at(of_row, head_bytes * head), *turn)):
                    rounded = self._processor.to_bf16(emitter, emitter.times(values, scale))
                    emitter.store(rounded, target, 2 * LANES * part)
                queries.append(target)
        return queries

    def _score(self, queries: list[Value], keys: Value, rows: list[Value]) -> None:
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        with emitter.loop(int64(0), self._count, step=KEY_BLOCK) as block:
            of_block = emitter.at(keys, build.mul(block.index, int64(2 * shape.head_size)))
            zeros = [constant(F32, 0.0)] * len(queries)
            with emitter.loop(int64(0), int64(shape.head_size // 2), zeros, step=_UNROLLED) as part:
                sums = part.carried
                own, column = build.mul(part.index, int64(PAIR)), build.mul(part.index, int64(PAIR * KEY_BLOCK))
                for number in range(_UNROLLED):
                    key = emitter.load(vector(I32), emitter.at(of_block, column), PAIR * KEY_BLOCK * number)
                    sums = [
                        self._processor.plus_bf16_products(
                            emitter, sum_, key, emitter.load(I32, emitter.at(query, own), PAIR * number)
                        )
                        for sum_, query in zip(sums, queries, strict=True)
                    ]
                part.next = sums
            for sum_, row in zip(part.carried, rows, strict=True):
                emitter.store(self._capped(sum_), row, build.mul(block.index, int64(4)))

    def _capped(self, scores: Value) -> Value:
        emitter, cap = self._emitter, self._shape.cap
        if cap is None:
            return scores
        bounded = hyperbolic_tangent(emitter, emitter.times(scores, constant(F32, 1 / cap)))
        return emitter.times(bounded, constant(F32, cap * math.log2(math.e)))

    def _softmax(self, scores: Value, row: int) -> Value:
        """Makes scores powers of two in bf16, 0 for what is not attended to, and returns what makes their sum one."""
        emitter = self._emitter
        build = emitter.build
        first = build.sub(self._first(row), self._begin)
        end = build.sub(build.add(self._given.position, int64(row + 1)), self._begin)
        whole = build.and_(build.add(first, int64(LANES - 1)), int64(-LANES))
        last = build.and_(end, int64(-LANES))
        last = build.select(build.icmp_signed(">", last, whole), last, whole)
        largest = constant(F32, _LOWEST)
        for begin, until in ((int64(0), whole), (last, build.sdiv(self._score_bytes, int64(4)))):
            with emitter.loop(begin, until, [largest], step=LANES) as part:
                values = self._masked(scores, part.index, first, end)
                emitter.store(values, scores, build.mul(part.index, int64(4)))
                part.next = [emitter.greater(part.carried[0], values)]
            (largest,) = part.carried
        with emitter.loop(whole, last, [largest], step=LANES) as part:
            values = emitter.load(vector(F32), scores, build.mul(part.index, int64(4)))
            part.next = [emitter.greater(part.carried[0], values)]
        largest = emitter.splat(emitter.reduce(part.carried[0], emitter.greater))
        with emitter.loop(int64(0), self._score_bytes, [constant(F32, 0.0)], step=_STEP) as part:
            values = emitter.load(vector(F32), scores, part.index)
            power = self._processor.to_bf16(emitter, power_of_two(emitter, build.fsub(values, largest)))
            # Where scores are read no more.
            emitter.store(power, scores, build.sdiv(part.index, int64(2)))
            part.next = [emitter.plus(part.carried[0], emitter.from_bf16(power))]
        return emitter.splat(build.fdiv(float32(1.0), emitter.reduce(part.carried[0], emitter.plus)))

    def _masked(self, scores: Value, index: Value, first: Value, end: Value) -> Value:
        """Returns 16 scores, the lowest for those that are not attended to."""
        emitter = self._emitter
        build = emitter.build
        values = emitter.load(vector(F32), scores, build.mul(index, int64(4)))
        places = ir.Constant(vector(I32), list(range(LANES)))
        # A comparison without a sign holds neither below the first nor beyond the last.
        place = build.add(emitter.splat(build.trunc(build.sub(index, first), I32)), places)
        attended = emitter.splat(build.trunc(build.sub(end, first), I32))
        return build.select(build.icmp_unsigned("<", place, attended), values, constant(F32, _LOWEST))

    def _read(self, scores: list[Value], values: Value, parts: range) -> list[Value]:
        """Returns for each row of scores the sum of values, each times its score, for some of a head's vectors."""
        emitter = self._emitter
        build = emitter.build
        sums = [constant(F32, 0.0)] * (len(scores) * len(parts))
        whole = build.and_(self._count, int64(-2))
        # The second token of the last pair may never have been written: what is there need not be a number.
        for begin, end, kept in ((int64(0), whole, None), (whole, self._count, constant(I32, 0xFFFF))):
            with emitter.loop(begin, end, sums, step=2) as token:
                place = emitter.at(values, build.mul(token.index, int64(2 * self._shape.head_size)))
                pairs = [emitter.load(vector(I32), place, PAIR * LANES * part) for part in parts]
                if kept is not None:
                    pairs = [build.and_(pair, kept) for pair in pairs]
                of_token = build.mul(token.index, int64(2))
                token.next = []
                for number, row in enumerate(scores):
                    weights = emitter.load(I32, row, of_token)
                    before = token.carried[number * len(pairs) : (number + 1) * len(pairs)]
                    token.next += [
                        self._processor.plus_bf16_products(emitter, sum_, pair, weights)
                        for sum_, pair in zip(before, pairs, strict=True)
                    ]
            sums = token.carried
        return sums
