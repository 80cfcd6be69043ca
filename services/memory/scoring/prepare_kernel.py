"""What of an index is the same for every search until a message comes or goes.

Which message stands before and after which, and how many words it has beside others, alone and with those; and how much
each says: the rarities of its different terms, squared and summed. What everybody says all the time adds next to
nothing to that, and a rare word more than two that are half as rare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import F32, F64, I8, I32, I64, float32, int64
from services.memory.scoring.scoring_function import ScoringFunction
from services.memory.scoring.tables import IndexField, PreparedField
from services.memory.scoring.word_kernel import COUNT_BITS, K1, PLACE_BITS

if TYPE_CHECKING:
    from services.kernels.emitter import Value

FULLNESS_WEIGHT = 1.2
"""Of saying e times as much as messages do on average."""
LONG_ENOUGH = 32
"""Words, author and date among them, from which on a message is not preferred for its length: a long reply of a model
is no better evidence than a sentence of a person, and either is better than an exclamation."""
FEW = 16
"""Of terms that fewer messages have the rarity is computed once for all of them: most are such."""
_B = 0.4
"""BM25's: the more, the less a word counts in a text that is longer than others."""


def write_prepare(module: Any) -> None:
    """Adds the function `prepare`: `(table of IndexFields, table of PreparedFields)`."""
    _PrepareWriter(module).write()


class _PrepareWriter(ScoringFunction):
    def __init__(self, module: Any) -> None:
        super().__init__(module, "prepare", (IndexField, PreparedField))
        self._count = self.number(IndexField.COUNT)

    def write(self) -> None:
        self._order()
        self._measure()
        self._hear()
        self._weigh()
        self.finish()

    def _order(self) -> None:
        """Finds what stands before and after each message; next to the one that is none stands nothing."""
        build, nothing = self.build, self._count
        for side in (IndexField.BEFORE, IndexField.AFTER):
            self.put(nothing, side, nothing)
        # Nothing is in conversation -1.
        with self.emitter.loop(int64(0), nothing, [nothing, I32(-1)]) as turn:
            before, theirs = turn.carried
            place = self.integer(PreparedField.ORDER, turn.index)
            own = self.emitter.load(I32, self.address(PreparedField.CONVERSATIONS), build.mul(place, int64(4)))
            together = build.icmp_signed("==", own, theirs)
            self.put(build.select(together, before, nothing), IndexField.BEFORE, place)
            # Where it is no successor, what is written goes to the place of what is none, which has none.
            self.put(build.select(together, place, nothing), IndexField.AFTER, build.select(together, before, nothing))
            # What comes next may be of another conversation.
            self.put(nothing, IndexField.AFTER, place)
            turn.next = [place, own]

    def _measure(self) -> None:
        """Counts what stands around each message, and finds how long it is beside others, alone and with its next."""
        build = self.build
        with self.emitter.loop(int64(0), self._count, [F64(0.0), F64(0.0)]) as message:
            sides = [self.integer(side, message.index) for side in (IndexField.BEFORE, IndexField.AFTER)]
            own = self.float(PreparedField.LENGTHS, message.index)
            together = build.fadd(own, build.fadd(*(self._length(side, message.index) for side in sides)))
            self.put(together, IndexField.SCALES_TOGETHER, message.index)
            self.put(self._number_of(*sides), IndexField.COUNTS, message.index)
            further = (
                self.integer(side, place)
                for side, place in zip((IndexField.BEFORE, IndexField.AFTER), sides, strict=True)
            )
            self.put(self._number_of(*further), IndexField.COUNTS_FURTHER, message.index)
            message.next = [
                build.fadd(total, build.fpext(length, F64))
                for total, length in zip(message.carried, (own, together), strict=True)
            ]
        factors = [self._factor(total) for total in message.carried]
        with self.emitter.loop(int64(0), self._count) as message:
            lengths = (
                self.float(PreparedField.LENGTHS, message.index),
                self.float(IndexField.SCALES_TOGETHER, message.index),
            )
            scales = (IndexField.SCALES, IndexField.SCALES_TOGETHER)
            for length, factor, scale in zip(lengths, factors, scales, strict=True):
                self.put(build.fadd(build.fmul(length, factor), float32(K1 * (1 - _B))), scale, message.index)

    def _length(self, place: Value, other: Value) -> Value:
        """Returns how many words a message has, of which there may be none; the other is one."""
        is_none = self.build.icmp_signed("==", place, self._count)
        length = self.float(PreparedField.LENGTHS, self.build.select(is_none, other, place))
        return self.build.select(is_none, float32(0.0), length)

    def _number_of(self, *places: Value) -> Value:
        """Returns how many of two places are messages', as a float."""
        build = self.build
        one, other = (build.zext(build.icmp_signed("!=", place, self._count), I64) for place in places)
        return build.sitofp(build.add(one, other), F32)

    def _factor(self, total: Value) -> Value:
        """Returns what a length counts, where all of them together are so long."""
        build = self.build
        mean = build.fdiv(total, build.sitofp(self._count, F64))
        mean = build.select(build.fcmp_ordered(">", mean, F64(1.0)), mean, F64(1.0))
        return build.fptrunc(build.fdiv(F64(K1 * _B), mean), F32)

    def _hear(self) -> None:
        """Adds up what each message's different terms tell."""
        build = self.build
        with self.emitter.loop(int64(1), int64(FEW)) as having:
            self.put(self._square(having.index), PreparedField.SAID, self._of_few(having.index))
        with self.emitter.loop(int64(0), self._count) as message:
            self.put(F64(0.0), PreparedField.SAID, message.index)
            self.put(I8(1), IndexField.EVERYONE, message.index)
            self.put(I8(0), IndexField.NOBODY, message.index)
        count = self.number(IndexField.POSTING_COUNT)
        last = build.sub(count, int64(1))
        with self.emitter.loop(int64(0), count, [int64(0)]) as posting:
            (first,) = posting.carried
            after = build.add(posting.index, int64(1))
            is_last = build.icmp_signed("==", posting.index, last)
            ends = build.or_(
                is_last,
                build.icmp_unsigned(
                    "!=", self._term(posting.index), self._term(build.select(is_last, posting.index, after))
                ),
            )
            with self.emitter.when(ends):
                self._add(first, after)
            posting.next = [build.select(ends, after, first)]

    def _add(self, first: Value, end: Value) -> None:
        """Adds what one term tells to each message that has it."""
        build, said = self.build, PreparedField.SAID
        having = build.sub(end, first)
        many = build.icmp_signed(">=", having, int64(FEW))
        with self.emitter.when(many):
            self.put(self._square(having), said, self._of_few(int64(0)))
        square = self.double(said, self._of_few(build.select(many, int64(0), having)))
        with self.emitter.loop(first, end) as posting:
            place = build.and_(
                build.lshr(self.integer(IndexField.POSTINGS, posting.index), int64(COUNT_BITS)),
                int64((1 << PLACE_BITS) - 1),
            )
            self.put(build.fadd(self.double(said, place), square), said, place)

    def _of_few(self, having: Value) -> Value:
        """Returns where it is kept what a term tells that so few messages have; 0 stands for any other number."""
        return self.build.add(self._count, having)

    def _term(self, number: Value) -> Value:
        return self.build.lshr(self.integer(IndexField.POSTINGS, number), int64(PLACE_BITS + COUNT_BITS))

    def _square(self, having: Value) -> Value:
        rarity = self.rarity(self._count, having)
        return self.build.fmul(rarity, rarity)

    def _weigh(self) -> None:
        """Weighs how much more than the others each message says.

        Not in standard deviations: of a few messages that say nearly the same amount, none is by far the fullest.
        """
        build = self.build
        with self.emitter.loop(int64(0), self._count, [F64(0.0)]) as message:
            length = build.fpext(self.float(PreparedField.LENGTHS, message.index), F64)
            # Of one that is longer than long enough, as much counts as one has that is so long.
            longer = build.fcmp_ordered(">", length, F64(LONG_ENOUGH))
            share = build.select(longer, build.fdiv(F64(LONG_ENOUGH), length), F64(1.0))
            counted = build.fmul(self.double(PreparedField.SAID, message.index), share)
            said = self.emitter.call_intrinsic("llvm.log.f64", F64, [build.fadd(counted, F64(1.0))])
            self.put(said, PreparedField.SAID, message.index)
            message.next = [build.fadd(message.carried[0], said)]
        mean = build.fdiv(message.carried[0], build.sitofp(self._count, F64))
        with self.emitter.loop(int64(0), self._count) as message:
            above = build.fsub(self.double(PreparedField.SAID, message.index), mean)
            weighed = build.fptrunc(build.fmul(above, F64(FULLNESS_WEIGHT)), F32)
            self.put(weighed, IndexField.FULLNESS, message.index)
