"""BM25 over postings, and over messages with their neighbours as one text.

A message fits by what its words tell, and with less weight by what they tell together with its neighbours', in units of
what a message of mean length gets that has every term once. Terms that nobody has count too: where little of a query is
found, words decide little. Its share is that of the query's terms which it has, weighted by how rare they are with the
user: 0 to 1.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from services.kernels.emitter import F32, F64, I1, I8, I64, float32, int64
from services.memory.scoring.scoring_function import ScoringFunction
from services.memory.scoring.tables import IndexField, RoomField, Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.kernels.emitter import Value


COUNT_BITS = 8
"""The lowest of a posting of 64 bits: how often its message has its term."""
PLACE_BITS = 24
"""Those above: the message's place. The others are the term."""
K1 = 1.2
"""BM25's: the less, the sooner it counts for nothing that a term is there once more."""
_REST = (1 << (PLACE_BITS + COUNT_BITS)) - 1


def write_words(module: Any) -> Any:
    """Adds the function `words`, and returns it."""
    return _WordWriter(module).write()


class _WordWriter(ScoringFunction):
    def __init__(self, module: Any) -> None:
        super().__init__(module, "words")

    def write(self) -> Any:
        terms = self.number(RoomField.TERM_COUNT)
        with self.emitter.loop(int64(0), self.number(IndexField.COUNT)) as message:
            for array in (RoomField.FIT, RoomField.SHARE):
                self.put(float32(0.0), array, message.index)
        with self.emitter.loop(int64(0), terms, [F64(0.0)]) as term:
            length = self._find(term.index)
            term.next = [self.build.fadd(term.carried[0], self._rarity_of(length))]
        (whole,) = term.carried
        # That of no message is marked throughout: nothing stands there.
        self.put(I8(1), RoomField.MARKS, self.number(IndexField.COUNT))
        with self.emitter.loop(int64(0), terms) as term:
            self._weigh(term.index, whole)
        self.put(I8(0), RoomField.MARKS, self.number(IndexField.COUNT))
        return self.finish()

    def _find(self, term: Value) -> Value:
        """Finds the postings of a term; returns how many there are, one a message that has it."""
        build = self.build
        least = build.shl(self.integer(RoomField.TERMS, term), int64(PLACE_BITS + COUNT_BITS))
        first = self._search("<", least)
        last = self._search("<=", build.or_(least, int64(_REST)))
        self.put(first, RoomField.SPANS, build.mul(term, int64(2)))
        self.put(last, RoomField.SPANS, build.add(build.mul(term, int64(2)), int64(1)))
        return build.sub(last, first)

    def _search(self, relation: str, key: Value) -> Value:
        """Returns how many postings are in a relation to a key that the first ones are in."""
        build = self.build
        count = self.number(IndexField.POSTING_COUNT)
        steps = build.sub(int64(64), self.emitter.call_intrinsic("llvm.ctlz.i64", I64, [count, I1(0)]))
        with self.emitter.loop(int64(0), steps, [int64(0), count]) as step:
            first, left = step.carried
            half = build.lshr(left, int64(1))
            middle = build.add(first, half)
            some = build.icmp_signed(">", left, int64(0))
            posting = self.integer(IndexField.POSTINGS, build.select(some, middle, int64(0)))
            beyond = build.and_(some, build.icmp_unsigned(relation, posting, key))
            after = build.sub(build.sub(left, half), int64(1))
            step.next = [
                build.select(beyond, build.add(middle, int64(1)), first),
                build.select(beyond, after, half),
            ]
        return step.carried[0]

    def _weigh(self, term: Value, whole: Value) -> None:
        """Adds to messages' fit and share what a term gives."""
        build = self.build
        first, last = self._span(term)
        rarity = self._rarity_of(build.sub(last, first))
        rare = build.fptrunc(build.fdiv(rarity, whole), F32)
        touched = self._touch(first, last)
        unit = build.fptrunc(build.fdiv(build.fpext(self._weight(Weight.WINDOW), F64), whole), F32)
        together = build.fptrunc(self._rarity_of(touched), F32)
        window = build.fmul(together, unit)
        with self._each_posting(first, last) as posting:
            place = self._place(posting)
            count = build.uitofp(build.and_(posting, int64((1 << COUNT_BITS) - 1)), F32)
            self.put(count, RoomField.TIMES, place)
            self._add(RoomField.FIT, place, build.fmul(rare, self._saturated(count, IndexField.SCALES, place)))
            self._add(RoomField.SHARE, place, rare)
        with self.emitter.loop(int64(0), touched) as number:
            place = self.integer(RoomField.TOUCHED, number.index)
            own, earlier, later = (
                self.float(RoomField.TIMES, one)
                for one in (place, self.integer(IndexField.BEFORE, place), self.integer(IndexField.AFTER, place))
            )
            times = build.fadd(build.fadd(own, earlier), later)
            self._add(
                RoomField.FIT, place, build.fmul(window, self._saturated(times, IndexField.SCALES_TOGETHER, place))
            )
        with self._each_posting(first, last) as posting:
            self.put(float32(0.0), RoomField.TIMES, self._place(posting))

    def _rarity_of(self, having: Value) -> Value:
        return self.rarity(self.number(IndexField.COUNT), having)

    def _touch(self, first: Value, last: Value) -> Value:
        """Finds what stands at or next to a message that has a term; returns how many do."""
        build = self.build
        with self.emitter.loop(first, last, [int64(0)]) as posting:
            (end,) = posting.carried
            place = self._place(self.integer(IndexField.POSTINGS, posting.index))
            around = (self.integer(field, place) for field in (IndexField.BEFORE, IndexField.AFTER))
            for one in (place, *around):
                # Written in any case, and kept where it is new.
                self.put(one, RoomField.TOUCHED, end)
                seen = build.zext(self.emitter.load(I8, self.address(RoomField.MARKS), one), I64)
                self.put(I8(1), RoomField.MARKS, one)
                end = build.add(end, build.sub(int64(1), seen))
            posting.next = [end]
        (end,) = posting.carried
        with self.emitter.loop(int64(0), end) as number:
            self.put(I8(0), RoomField.MARKS, self.integer(RoomField.TOUCHED, number.index))
        return end

    def _saturated(self, count: Value, scales: IndexField, place: Value) -> Value:
        build = self.build
        return build.fdiv(build.fmul(count, float32(K1 + 1)), build.fadd(count, self.float(scales, place)))

    def _add(self, array: RoomField, place: Value, what: Value) -> None:
        self.put(self.build.fadd(self.float(array, place), what), array, place)

    def _weight(self, weight: Weight) -> Value:
        return self.float(RoomField.WEIGHTS, int64(weight))

    def _span(self, term: Value) -> tuple[Value, Value]:
        first = self.build.mul(term, int64(2))
        return self.integer(RoomField.SPANS, first), self.integer(RoomField.SPANS, self.build.add(first, int64(1)))

    def _place(self, posting: Value) -> Value:
        build = self.build
        return build.and_(build.lshr(posting, int64(COUNT_BITS)), int64((1 << PLACE_BITS) - 1))

    @contextmanager
    def _each_posting(self, first: Value, last: Value) -> Iterator[Value]:
        with self.emitter.loop(first, last) as number:
            yield self.integer(IndexField.POSTINGS, number.index)
