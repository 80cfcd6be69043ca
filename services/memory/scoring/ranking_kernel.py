"""Weighs every message of a user, and finds the best: what the weights are, `ranking` says.

Single numbers are computed one by one and never contracted: every processor gives the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import ADDRESS, F32, F64, I8, I64, Emitter, float32, int64
from services.memory.scoring.tables import RankField, Weight

if TYPE_CHECKING:
    from services.kernels.emitter import Value

PARTS = 3
"""Of a score."""


def write_rank(module: Any) -> None:
    """Adds the function `rank`: `(table of RankFields)`."""
    _RankWriter(module).write()


class _RankWriter:
    def __init__(self, module: Any) -> None:
        self._emitter = emitter = Emitter(module, "rank", [ADDRESS])
        (table,) = emitter.arguments
        self._at = {field: emitter.load_address(table, 8 * field) for field in RankField}
        self._count, self._limit = (emitter.load(I64, table, 8 * field) for field in (RankField.COUNT, RankField.LIMIT))
        self._weights = {weight: emitter.load(F32, self._at[RankField.WEIGHTS], 4 * weight) for weight in Weight}

    def write(self) -> None:
        self._fill_in()
        total, embedded = self._smooth()
        mean, factor = self._standardise(total, embedded)
        found = self._find(mean, factor)
        self._tell(found)
        self._emitter.finish()

    def _fill_in(self) -> None:
        """Gives messages without a vector what is usual; what is none has nothing."""
        emitter = self._emitter
        known = self._at[RankField.KNOWN]
        with emitter.loop(int64(0), self._count) as message:
            own = self._float(RankField.SIMILARITIES, message.index)
            usual = self._weights[Weight.USUAL]
            self._store(
                emitter.build.select(self._is(RankField.EMBEDDED, message.index), own, usual), known, message.index
            )
        self._store(float32(0.0), known, self._count)

    def _smooth(self) -> tuple[Value, Value]:
        """Averages similarities with those around; returns the sum of those that have a vector, and their number."""
        emitter = self._emitter
        build = emitter.build
        weights = self._weights[Weight.NEXT], self._weights[Weight.NEXT_BUT_ONE]
        counts = RankField.COUNTS, RankField.COUNTS_FURTHER
        with emitter.loop(int64(0), self._count, [F64(0.0), int64(0)]) as message:
            smoothed, weighed = self._float(RankField.KNOWN, message.index), float32(1.0)
            before = after = message.index
            for weight, count in zip(weights, counts, strict=True):
                before, after = self._integer(RankField.BEFORE, before), self._integer(RankField.AFTER, after)
                theirs = build.fadd(self._float(RankField.KNOWN, before), self._float(RankField.KNOWN, after))
                smoothed = build.fadd(smoothed, build.fmul(weight, theirs))
                weighed = build.fadd(weighed, build.fmul(weight, self._float(count, message.index)))
            smoothed = build.fdiv(smoothed, weighed)
            self._store(smoothed, self._at[RankField.DENSE], message.index)
            embedded = self._is(RankField.EMBEDDED, message.index)
            total, number = message.carried
            counted = build.select(embedded, build.fpext(smoothed, F64), F64(0.0))
            message.next = [build.fadd(total, counted), build.add(number, build.zext(embedded, I64))]
        return message.carried[0], message.carried[1]

    def _standardise(self, total: Value, embedded: Value) -> tuple[Value, Value]:
        """Returns the mean, and what a difference from it is multiplied with: 0 where all are nearly equal."""
        emitter = self._emitter
        build = emitter.build
        given = build.fcmp_ordered("!=", self._weights[Weight.GIVEN], float32(0.0))
        some = build.sitofp(build.select(build.icmp_signed(">", embedded, int64(0)), embedded, int64(1)), F64)
        own_mean = build.fptrunc(build.fdiv(total, some), F32)
        mean = build.select(given, self._weights[Weight.MEAN], own_mean)
        with emitter.loop(int64(0), self._count, [F64(0.0)]) as message:
            apart = build.fpext(build.fsub(self._float(RankField.DENSE, message.index), mean), F64)
            square = build.select(self._is(RankField.EMBEDDED, message.index), build.fmul(apart, apart), F64(0.0))
            message.next = [build.fadd(message.carried[0], square)]
        variance = build.fdiv(message.carried[0], some)
        root = emitter.call_intrinsic("llvm.sqrt.f64", F64, [variance])
        deviation = build.select(given, self._weights[Weight.DEVIATION], build.fptrunc(root, F32))
        varies = build.fcmp_ordered(">=", deviation, self._weights[Weight.LEAST_DEVIATION])
        return mean, build.select(varies, build.fdiv(self._weights[Weight.DENSE], deviation), float32(0.0))

    def _find(self, mean: Value, factor: Value) -> Value:
        """Scores messages and keeps the best, in order; returns how many."""
        emitter = self._emitter
        build = emitter.build
        dense = self._at[RankField.DENSE]
        with emitter.loop(int64(0), self._count, [int64(0)]) as message:
            above = build.fmul(build.fsub(self._float(RankField.DENSE, message.index), mean), factor)
            own = build.select(self._is(RankField.EMBEDDED, message.index), above, float32(0.0))
            self._store(own, dense, message.index)
            parts = (own, self._lexical(message.index), self._float(RankField.PRIOR, message.index))
            first, second, third = (build.fpext(part, F64) for part in parts)
            score = build.fadd(build.fadd(first, second), third)
            message.next = [self._kept(message.carried[0], message.index, score)]
        return message.carried[0]

    def _kept(self, found: Value, place: Value, score: Value) -> Value:
        """Puts a message among the best where it belongs; returns how many these are then."""
        emitter = self._emitter
        build, function = emitter.build, emitter.function
        before = build.block
        compare, enter, look, move, put, after = (function.append_basic_block() for _ in range(6))
        build.cbranch(self._is(RankField.PASSES, place), compare, after)
        build.position_at_end(compare)
        last = build.sub(self._limit, int64(1))
        is_full = build.icmp_signed(">", found, last)
        # Where there is no last one yet, its place is 0, a message's as any other.
        beats = build.or_(build.not_(is_full), self._is_before(score, place, last))
        build.cbranch(beats, enter, after)
        build.position_at_end(enter)
        begin = build.select(is_full, last, found)
        grown = build.select(is_full, found, build.add(found, int64(1)))
        build.branch(look)
        build.position_at_end(look)
        hole = build.phi(I64)
        hole.add_incoming(begin, enter)
        above = build.sub(hole, int64(1))
        build.cbranch(build.icmp_signed(">", hole, int64(0)), move, put)
        build.position_at_end(move)
        shift = function.append_basic_block()
        build.cbranch(self._is_before(score, place, above), shift, put)
        build.position_at_end(shift)
        for field in (RankField.SCORES, RankField.PLACES):
            at = self._at[field]
            emitter.store(emitter.load(I64, at, build.mul(above, int64(8))), at, build.mul(hole, int64(8)))
        hole.add_incoming(above, shift)
        build.branch(look)
        build.position_at_end(put)
        emitter.store(score, self._at[RankField.SCORES], build.mul(hole, int64(8)))
        emitter.store(place, self._at[RankField.PLACES], build.mul(hole, int64(8)))
        build.branch(after)
        build.position_at_end(after)
        kept = build.phi(I64)
        for value, block in ((found, before), (found, compare), (grown, put)):
            kept.add_incoming(value, block)
        return kept

    def _is_before(self, score: Value, place: Value, number: Value) -> Value:
        """Returns whether a message is better than the one that is kept there: where both score the same, the newer."""
        build = self._emitter.build
        offset = build.mul(number, int64(8))
        theirs = self._emitter.load(F64, self._at[RankField.SCORES], offset)
        their_id = self._integer(RankField.IDS, self._emitter.load(I64, self._at[RankField.PLACES], offset))
        newer = build.icmp_signed(">", self._integer(RankField.IDS, place), their_id)
        same = build.and_(build.fcmp_ordered("==", score, theirs), newer)
        return build.or_(build.fcmp_ordered(">", score, theirs), same)

    def _tell(self, found: Value) -> None:
        emitter = self._emitter
        build = emitter.build
        with emitter.loop(int64(0), found) as number:
            place = self._integer(RankField.PLACES, number.index)
            parts = (self._float(RankField.DENSE, place), self._lexical(place), self._float(RankField.PRIOR, place))
            for part, value in enumerate(parts):
                offset = build.add(build.mul(number.index, int64(4 * PARTS)), int64(4 * part))
                emitter.store(value, self._at[RankField.PARTS], offset)
        emitter.store(found, self._at[RankField.FOUND])

    def _lexical(self, place: Value) -> Value:
        build = self._emitter.build
        words = build.fmul(self._weights[Weight.LEXICAL], self._float(RankField.FIT, place))
        author = self._weights[Weight.AUTHOR]
        return build.fadd(words, build.select(self._is(RankField.NAMED, place), author, float32(0.0)))

    def _is(self, field: RankField, place: Value) -> Value:
        return self._emitter.build.icmp_unsigned("!=", self._emitter.load(I8, self._at[field], place), I8(0))

    def _integer(self, field: RankField, number: Value) -> Value:
        return self._emitter.load(I64, self._at[field], self._emitter.build.mul(number, int64(8)))

    def _float(self, field: RankField, number: Value) -> Value:
        return self._emitter.load(F32, self._at[field], self._emitter.build.mul(number, int64(4)))

    def _store(self, value: Value, array: Value, number: Value) -> None:
        self._emitter.store(value, array, self._emitter.build.mul(number, int64(4)))
