"""BM25 over postings, and over messages with their neighbours as one text: see `LexicalIndex.match`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from services.kernels.emitter import ADDRESS, F32, I8, I64, Emitter, float32, int64
from services.memory.scoring.tables import TouchField, WeighField

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.kernels.emitter import Value


COUNT_BITS = 8
"""The lowest of a posting of 64 bits: how often its message has its term."""
PLACE_BITS = 24
"""Those above: the message's place. The others are the term."""
K1 = 1.2
"""BM25's: the less, the sooner it counts for nothing that a term is there once more."""


def write_touch(module: Any) -> None:
    """Adds the function `touch`: `(table of TouchFields)`."""
    emitter = Emitter(module, "touch", [ADDRESS])
    build = emitter.build
    at = {field: emitter.load_address(emitter.arguments[0], 8 * field) for field in TouchField}
    terms = emitter.load(I64, emitter.arguments[0], 8 * TouchField.TERMS)
    marks, touched = at[TouchField.MARKS], at[TouchField.TOUCHED]
    with emitter.loop(int64(0), terms, [int64(0)]) as term:
        (begin,) = term.carried
        first, last = _span(emitter, at[TouchField.SPANS], term.index)
        with emitter.loop(first, last, [begin]) as posting:
            (end,) = posting.carried
            place = _place(emitter, _integer(emitter, at[TouchField.POSTINGS], posting.index))
            around = (_integer(emitter, at[field], place) for field in (TouchField.BEFORE, TouchField.AFTER))
            for one in (place, *around):
                # Written in any case, and kept where it is new.
                emitter.store(one, touched, build.mul(end, int64(8)))
                seen = build.zext(emitter.load(I8, marks, one), I64)
                emitter.store(I8(1), marks, one)
                end = build.add(end, build.sub(int64(1), seen))
            posting.next = [end]
        (end,) = posting.carried
        with emitter.loop(begin, end) as number:
            emitter.store(I8(0), marks, _integer(emitter, touched, number.index))
        emitter.store(end, at[TouchField.ENDS], build.mul(term.index, int64(8)))
        term.next = [end]
    emitter.finish()


def write_weigh(module: Any) -> None:
    """Adds the function `weigh`: `(table of WeighFields)`."""
    emitter = Emitter(module, "weigh", [ADDRESS])
    build = emitter.build
    at = {field: emitter.load_address(emitter.arguments[0], 8 * field) for field in WeighField}
    terms = emitter.load(I64, emitter.arguments[0], 8 * WeighField.TERMS)
    times, fit, share = at[WeighField.TIMES], at[WeighField.FIT], at[WeighField.SHARE]

    def saturated(count: Value, scales: Value, place: Value) -> Value:
        scale = _float(emitter, scales, place)
        return build.fdiv(build.fmul(count, float32(K1 + 1)), build.fadd(count, scale))

    def add(array: Value, place: Value, what: Value) -> None:
        emitter.store(build.fadd(_float(emitter, array, place), what), array, build.mul(place, int64(4)))

    @contextmanager
    def each_posting(term: Value) -> Iterator[Value]:
        first, last = _span(emitter, at[WeighField.SPANS], term)
        with emitter.loop(first, last) as number:
            yield _integer(emitter, at[WeighField.POSTINGS], number.index)

    with emitter.loop(int64(0), terms, [int64(0)]) as term:
        rare, window = (
            _float(emitter, at[field], term.index) for field in (WeighField.RARITIES, WeighField.WINDOW_RARITIES)
        )
        with each_posting(term.index) as posting:
            place = _place(emitter, posting)
            count = build.uitofp(build.and_(posting, int64((1 << COUNT_BITS) - 1)), F32)
            emitter.store(count, times, build.mul(place, int64(4)))
            add(fit, place, build.fmul(rare, saturated(count, at[WeighField.SCALES], place)))
            add(share, place, rare)
        end = _integer(emitter, at[WeighField.ENDS], term.index)
        with emitter.loop(term.carried[0], end) as number:
            place = _integer(emitter, at[WeighField.TOUCHED], number.index)
            before, after = (_integer(emitter, at[field], place) for field in (WeighField.BEFORE, WeighField.AFTER))
            own, earlier, later = (_float(emitter, times, one) for one in (place, before, after))
            together = build.fadd(build.fadd(own, earlier), later)
            add(fit, place, build.fmul(window, saturated(together, at[WeighField.SCALES_TOGETHER], place)))
        with each_posting(term.index) as posting:
            emitter.store(float32(0.0), times, build.mul(_place(emitter, posting), int64(4)))
        term.next = [end]
    emitter.finish()


def _span(emitter: Emitter, spans: Value, term: Value) -> tuple[Value, Value]:
    first = emitter.build.mul(term, int64(2))
    return _integer(emitter, spans, first), _integer(emitter, spans, emitter.build.add(first, int64(1)))


def _place(emitter: Emitter, posting: Value) -> Value:
    build = emitter.build
    return build.and_(build.lshr(posting, int64(COUNT_BITS)), int64((1 << PLACE_BITS) - 1))


def _integer(emitter: Emitter, array: Value, number: Value) -> Value:
    return emitter.load(I64, array, emitter.build.mul(number, int64(8)))


def _float(emitter: Emitter, array: Value, number: Value) -> Value:
    return emitter.load(F32, array, emitter.build.mul(number, int64(4)))
