"""What is computed of many rows of half floats: their inner products with one of single precision, and their sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import ADDRESS, F32, F64, I16, I64, LANES, VOID, Emitter, constant, int32, int64, vector
from services.memory.scoring.tables import SumField

if TYPE_CHECKING:
    from services.kernels.processor import Processor

AT_ONCE = 4 * LANES
"""Numbers of a row that are taken at once."""
_ROW_BYTES = 2 * AT_ONCE
_AHEAD = 16_384
"""Bytes by which memory is asked for before it is read."""
_READ, _ONCE, _DATA = int32(0), int32(0), int32(1)
"""What is read once need not stay in a processor's caches, where it would take the place of what is used again."""


def write_products(module: Any, processor: Processor) -> Any:
    """Adds a function `(rows, their number, their size, query, out)`, and returns it. Each is summed in one order."""
    emitter = Emitter(module, "products", [ADDRESS, I64, I64, ADDRESS, ADDRESS])
    rows, count, size, query, out = emitter.arguments
    build = emitter.build
    row_bytes = build.mul(size, int64(2))
    with emitter.loop(int64(0), count) as row:
        start = emitter.at(rows, build.mul(row.index, row_bytes))
        with emitter.loop(int64(0), row_bytes, [constant(F32, 0.0)] * 4, step=_ROW_BYTES) as part:
            ahead = emitter.at(start, build.add(part.index, int64(_AHEAD)))
            for line in (0, 64):
                arguments = [emitter.at(ahead, int64(line)), _READ, _ONCE, _DATA]
                emitter.call_intrinsic("llvm.prefetch.p0", VOID, arguments)
            sums = []
            for number, sum_ in enumerate(part.carried):
                place = build.add(part.index, int64(2 * LANES * number))
                halves = processor.from_fp16(emitter, emitter.load(vector(I16), start, place))
                singles = emitter.load(vector(F32), query, build.mul(place, int64(2)))
                sums.append(emitter.plus_product(sum_, halves, singles))
            part.next = sums
        one, other, third, fourth = part.carried
        whole = emitter.plus(emitter.plus(one, other), emitter.plus(third, fourth))
        emitter.store(emitter.reduce(whole, emitter.plus), out, build.mul(row.index, int64(4)))
    return emitter.finish()


def write_sums(module: Any, processor: Processor) -> None:
    """Adds the function `sums`: `(table of SumFields)`."""
    emitter = Emitter(module, "sums", [ADDRESS])
    (table,) = emitter.arguments
    build = emitter.build
    rows, squares, totals = (
        emitter.load_address(table, 8 * field) for field in (SumField.ROWS, SumField.SQUARES, SumField.TOTALS)
    )
    count, size = (emitter.load(I64, table, 8 * field) for field in (SumField.COUNT, SumField.SIZE))
    with emitter.loop(int64(0), count) as row:
        start = emitter.at(rows, build.mul(row.index, build.mul(size, int64(2))))
        with emitter.loop(int64(0), size, [constant(F32, 0.0)], step=LANES) as part:
            halves = emitter.load(vector(I16), start, build.mul(part.index, int64(2)))
            singles = processor.from_fp16(emitter, halves)
            place = build.mul(part.index, int64(8))
            before = emitter.load(vector(F64), totals, place)
            emitter.store(build.fadd(before, build.fpext(singles, vector(F64))), totals, place)
            part.next = [emitter.plus_product(part.carried[0], singles, singles)]
        emitter.store(emitter.reduce(part.carried[0], emitter.plus), squares, build.mul(row.index, int64(4)))
    emitter.finish()
