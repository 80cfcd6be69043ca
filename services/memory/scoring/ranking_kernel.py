"""Weighs every message of a user, and finds the best: what the weights are, `ranking` says.

Single numbers are computed one by one and never contracted: every processor gives the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import F32, F64, I64, float32, int64
from services.memory.scoring.scoring_function import ScoringFunction
from services.memory.scoring.tables import IndexField, Part, RoomField, Weight

if TYPE_CHECKING:
    from services.kernels.emitter import Value


def write_rank(module: Any) -> Any:
    """Adds the function `rank`, and returns it."""
    return _RankWriter(module).write()


class _RankWriter(ScoringFunction):
    def __init__(self, module: Any) -> None:
        super().__init__(module, "rank")
        self._count, self._limit = self.number(IndexField.COUNT), self.number(RoomField.LIMIT)
        self.stand_in(RoomField.PASSES, IndexField.EVERYONE)
        self.stand_in(RoomField.NAMED, IndexField.NOBODY)
        self.stand_in(RoomField.PRIOR, IndexField.FULLNESS)
        self._weights = {weight: self.float(RoomField.WEIGHTS, int64(weight)) for weight in Weight}

    def write(self) -> Any:
        self._fill_in()
        total, embedded = self._smooth()
        mean, factor = self._standardise(total, embedded)
        found = self._find(mean, factor)
        self._tell(found)
        return self.finish()

    def _fill_in(self) -> None:
        """Gives messages without a vector what is usual; what is none has nothing."""
        known = RoomField.KNOWN
        with self.emitter.loop(int64(0), self._count) as message:
            own = self.float(RoomField.SIMILARITIES, message.index)
            usual = self._weights[Weight.USUAL]
            self.put(
                self.build.select(self.is_set(IndexField.EMBEDDED, message.index), own, usual), known, message.index
            )
        self.put(float32(0.0), known, self._count)

    def _smooth(self) -> tuple[Value, Value]:
        """Averages similarities with those around; returns the sum of those that have a vector, and their number."""
        build = self.build
        weights = self._weights[Weight.NEXT], self._weights[Weight.NEXT_BUT_ONE]
        counts = IndexField.COUNTS, IndexField.COUNTS_FURTHER
        with self.emitter.loop(int64(0), self._count, [F64(0.0), int64(0)]) as message:
            smoothed, weighed = self.float(RoomField.KNOWN, message.index), float32(1.0)
            before = after = message.index
            for weight, count in zip(weights, counts, strict=True):
                before, after = self.integer(IndexField.BEFORE, before), self.integer(IndexField.AFTER, after)
                theirs = build.fadd(self.float(RoomField.KNOWN, before), self.float(RoomField.KNOWN, after))
                smoothed = build.fadd(smoothed, build.fmul(weight, theirs))
                weighed = build.fadd(weighed, build.fmul(weight, self.float(count, message.index)))
            smoothed = build.fdiv(smoothed, weighed)
            self.put(smoothed, RoomField.DENSE, message.index)
            embedded = self.is_set(IndexField.EMBEDDED, message.index)
            total, number = message.carried
            counted = build.select(embedded, build.fpext(smoothed, F64), F64(0.0))
            message.next = [build.fadd(total, counted), build.add(number, build.zext(embedded, I64))]
        return message.carried[0], message.carried[1]

    def _standardise(self, total: Value, embedded: Value) -> tuple[Value, Value]:
        """Returns the mean, and what a difference from it is multiplied with: 0 where all are nearly equal."""
        build = self.build
        given = build.fcmp_ordered("!=", self._weights[Weight.GIVEN], float32(0.0))
        some = build.sitofp(build.select(build.icmp_signed(">", embedded, int64(0)), embedded, int64(1)), F64)
        own_mean = build.fptrunc(build.fdiv(total, some), F32)
        mean = build.select(given, self._weights[Weight.MEAN], own_mean)
        with self.emitter.loop(int64(0), self._count, [F64(0.0)]) as message:
            apart = build.fpext(build.fsub(self.float(RoomField.DENSE, message.index), mean), F64)
            square = build.select(self.is_set(IndexField.EMBEDDED, message.index), build.fmul(apart, apart), F64(0.0))
            message.next = [build.fadd(message.carried[0], square)]
        variance = build.fdiv(message.carried[0], some)
        root = self.emitter.call_intrinsic("llvm.sqrt.f64", F64, [variance])
        deviation = build.select(given, self._weights[Weight.DEVIATION], build.fptrunc(root, F32))
        varies = build.fcmp_ordered(">=", deviation, self._weights[Weight.LEAST_DEVIATION])
        return mean, build.select(varies, build.fdiv(self._weights[Weight.DENSE], deviation), float32(0.0))

    def _find(self, mean: Value, factor: Value) -> Value:
        """Scores messages and keeps the best, in order; returns how many."""
        build = self.build
        dense = RoomField.DENSE
        # What stands at a place is read before anything is put there.
        with self.emitter.loop(int64(0), self._limit) as number:
            self.put(int64(0), RoomField.PLACES, number.index)
        with self.emitter.loop(int64(0), self._count, [int64(0)]) as message:
            above = build.fmul(build.fsub(self.float(RoomField.DENSE, message.index), mean), factor)
            own = build.select(self.is_set(IndexField.EMBEDDED, message.index), above, float32(0.0))
            self.put(own, dense, message.index)
            parts = (own, self._lexical(message.index), self.float(RoomField.PRIOR, message.index))
            first, second, third = (build.fpext(part, F64) for part in parts)
            score = build.fadd(build.fadd(first, second), third)
            message.next = [self._kept(message.carried[0], message.index, score)]
        return message.carried[0]

    def _kept(self, found: Value, place: Value, score: Value) -> Value:
        """Puts a message among the best where it belongs; returns how many these are then."""
        build, function = self.build, self.emitter.function
        before = build.block
        compare, enter, look, move, put, after = (function.append_basic_block() for _ in range(6))
        build.cbranch(self.is_set(RoomField.PASSES, place), compare, after)
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
        for array in (RoomField.SCORES, RoomField.PLACES):
            self.put(self.integer(array, above), array, hole)
        hole.add_incoming(above, shift)
        build.branch(look)
        build.position_at_end(put)
        self.put(score, RoomField.SCORES, hole)
        self.put(place, RoomField.PLACES, hole)
        build.branch(after)
        build.position_at_end(after)
        kept = build.phi(I64)
        for value, block in ((found, before), (found, compare), (grown, put)):
            kept.add_incoming(value, block)
        return kept

    def _is_before(self, score: Value, place: Value, number: Value) -> Value:
        """Returns whether a message is better than the one that is kept there: where both score the same, the newer."""
        build = self.build
        theirs = self.double(RoomField.SCORES, number)
        their_id = self.integer(IndexField.IDS, self.integer(RoomField.PLACES, number))
        newer = build.icmp_signed(">", self.integer(IndexField.IDS, place), their_id)
        same = build.and_(build.fcmp_ordered("==", score, theirs), newer)
        return build.or_(build.fcmp_ordered(">", score, theirs), same)

    def _tell(self, found: Value) -> None:
        with self.emitter.loop(int64(0), found) as number:
            place = self.integer(RoomField.PLACES, number.index)
            value_of = {
                Part.DENSE: self.float(RoomField.DENSE, place),
                Part.LEXICAL: self._lexical(place),
                Part.PRIOR: self.float(RoomField.PRIOR, place),
                Part.SHARE: self.float(RoomField.SHARE, place),
                Part.SIMILARITY: float32(0.0),
            }
            for part, value in value_of.items():
                at = self.build.add(self.build.mul(number.index, int64(len(Part))), int64(part))
                self.put(value, RoomField.PARTS, at)
        self.emitter.store(found, self.tables[RoomField], 8 * RoomField.FOUND)

    def _lexical(self, place: Value) -> Value:
        build = self.build
        words = build.fmul(self._weights[Weight.LEXICAL], self.float(RoomField.FIT, place))
        author = self._weights[Weight.AUTHOR]
        return build.fadd(words, build.select(self.is_set(RoomField.NAMED, place), author, float32(0.0)))
