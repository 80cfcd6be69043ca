"""Linears over block-quantized weights and inputs, both in groups of 32 (`block_forms`).

The inputs are rounded to integers of 8 bits. Where one value of a group is far beyond the others, these have the scale
to themselves, and it has an upper part besides. Together that loses less than bf16 does. Products are added as
integers: exact, so a row gives the same whatever rows are computed beside it. `weight_record` says how weights lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.inference.engine.block_forms import FORMS, GROUP, Form
from services.inference.engine.kernels.weight_record import FOUR, WeightRecord
from services.kernels.emitter import (
    ADDRESS,
    F32,
    I8,
    I32,
    I64,
    LANES,
    LINE_BYTES,
    Emitter,
    constant,
    int32,
    int64,
    vector,
)

if TYPE_CHECKING:
    from services.kernels.emitter import Value
    from services.kernels.processor import Processor

LEVELS = 2
"""8-bit integers that there is room for, an input."""
ROWS_AT_ONCE = 8
"""Rows of inputs that are taken together while weights are at hand: they share what says which of a group's inputs have
an upper part."""
PART_BITS = 7
"""Of the lower part, where there is an upper one."""
_BLOCKS = (ROWS_AT_ONCE, 4, 2, 1)
_ALL = range(GROUP // FOUR)
_HALVES = (range(GROUP // FOUR // 2), range(GROUP // FOUR // 2, GROUP // FOUR))


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """Where a linear's weights are."""

    weights: Value
    """As `block_packing` packs them."""
    bias: Value
    """A float an output."""
    groups: Value
    """Number of groups of inputs."""


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Where the rounded inputs of a linear are."""

    count: Value
    """Number of rows."""
    values: Value
    """8-bit integers, shape `(rows, 2, groups, 32)`: a row's lower parts, then its upper ones, nearly all of them 0."""
    scales: Value
    """Floats, shape `(rows, groups)`."""
    sums: Value
    """Of each group's integers times their scale: floats, shape `(rows, groups)`. For weights that have zeros."""
    offsets: Value
    """The sum of each group's integers times the weights' centre, 32 bits, shape `(rows, groups)`. Where a group has
    one scale."""
    halves: Value
    """32 times the sum of each half group's integers, 32 bits, shape `(rows, groups, 2)`. Written where weights whose
    halves have scales are to be multiplied."""
    outlying: Value
    """Bytes, shape `(rows / ROWS_AT_ONCE, groups)`: a bit for each of a group's fours of inputs, set where one of them
    has an upper part other than 0 in any of the rows."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Which of a linear's tiles of 16 outputs a thread computes."""

    first: Value
    end: Value
    """After the last."""
    passed_over: Value
    """How many after these others are likely to compute before this thread goes on."""


class LinearKernel:
    """The functions of linears whose weights have one form.

    Args:
        module: What they become a part of.
        processor: What they are compiled for.
        form: Of weights.
    """

    def __init__(self, module: Any, processor: Processor, form: Form) -> None:
        self._module = module
        self._processor = processor
        self._form = form
        self._facts = FORMS[form]
        self._record = WeightRecord(processor, form)
        self._lines = -(-self._record.size // LINE_BYTES)
        self._sum_bytes = 8 if self._facts.halves else 4
        blocks = {rows: self._write_tile(rows) for rows in _BLOCKS}
        self._function = self._write(blocks)

    def call(
        self,
        emitter: Emitter,
        linear: PackedLinear,
        inputs: QuantizedRows,
        out: tuple[Value, Value],
        tiles: Tiles,
    ) -> None:
        """Writes a call.

        Weights come from afar, and what a processor fetches ahead on its own comes too late while rows are multiplied:
        each tile's are asked for while the one before is at work.

        Args:
            emitter: The function that is written.
            linear: What is applied.
            inputs: What to.
            out: Address of floats, and bytes from one row of them to the next.
            tiles: Which outputs are computed.
        """
        sums = inputs.offsets
        if self._facts.centre is None:
            sums = inputs.sums
        elif self._facts.halves:
            sums = inputs.halves
        rows = (inputs.values, inputs.scales, sums, inputs.outlying, inputs.count)
        which = (tiles.first, tiles.end, tiles.passed_over)
        emitter.build.call(self._function, [linear.weights, linear.bias, *rows, linear.groups, *out, *which])

    def _write(self, blocks: dict[int, Any]) -> Any:
        emitter = Emitter(self._module, f"linear_{self._form}", [ADDRESS] * 6 + [I64] * 2 + [ADDRESS] + [I64] * 4)
        weights, bias, values, scales, sums, outlying, rows, groups, out, stride, *which = emitter.arguments
        tiles = Tiles(*which)
        build = emitter.build
        tile_bytes = build.mul(groups, int64(self._record.size))
        lines = self._lines_at_once(emitter, rows)
        row_bytes, scale_bytes = build.mul(groups, int64(LEVELS * GROUP)), build.mul(groups, int64(4))
        sum_bytes = build.mul(groups, int64(self._sum_bytes))
        with emitter.loop(tiles.first, tiles.end) as tile:
            lanes = build.mul(tile.index, int64(4 * LANES))
            following = build.add(tile.index, int64(1))
            skipped = build.select(build.icmp_signed("<", following, tiles.end), int64(0), tiles.passed_over)
            next_tile = emitter.at(weights, build.mul(build.add(following, skipped), tile_bytes))
            begin = int64(0)
            for block in _BLOCKS:
                end = build.sub(rows, build.urem(build.sub(rows, begin), int64(block)))
                with emitter.loop(begin, end, step=block) as row:
                    build.call(
                        blocks[block],
                        [
                            emitter.at(weights, build.mul(tile.index, tile_bytes)),
                            emitter.at(bias, lanes),
                            emitter.at(values, build.mul(row.index, row_bytes)),
                            emitter.at(scales, build.mul(row.index, scale_bytes)),
                            emitter.at(sums, build.mul(row.index, sum_bytes)),
                            emitter.at(outlying, build.mul(build.sdiv(row.index, int64(ROWS_AT_ONCE)), groups)),
                            groups,
                            emitter.at(emitter.at(out, build.mul(row.index, stride)), lanes),
                            stride,
                            *self._ahead(emitter, next_tile, row.index, groups, lines),
                        ],
                    )
                begin = end
        return emitter.finish()

    def _lines_at_once(self, emitter: Emitter, rows: Value) -> Value:
        """Returns how many lines of the next tile are asked for a group, so that all are within this tile's rows."""
        build = emitter.build
        blocks = emitter.most(build.sdiv(rows, int64(ROWS_AT_ONCE)), int64(1))
        return build.sdiv(build.add(blocks, int64(self._lines - 1)), blocks)

    def _ahead(self, emitter: Emitter, tile: Value, row: Value, groups: Value, lines: Value) -> tuple[Value, Value]:
        """Returns what a block of rows asks for of a tile: where it begins, and bytes a group."""
        build = emitter.build
        before = build.mul(build.sdiv(build.add(row, int64(ROWS_AT_ONCE - 1)), int64(ROWS_AT_ONCE)), lines)
        left = emitter.most(build.sub(int64(self._lines), before), int64(0))
        begin = emitter.at(tile, build.mul(build.mul(before, groups), int64(LINE_BYTES)))
        size = build.mul(emitter.least(lines, left), int64(LINE_BYTES))
        # Where a group does not end with a line, a block that is alone asks for no more than there is.
        return begin, emitter.least(size, int64(self._record.size)) if self._record.size % LINE_BYTES else size

    def _write_tile(self, rows: int) -> Any:
        name = f"linear_{self._form}_rows{rows}"
        emitter = Emitter(self._module, name, [ADDRESS] * 6 + [I64, ADDRESS, I64, ADDRESS, I64])
        weights, bias, values, scales, sums, outlying, groups, out, stride, ahead, ahead_bytes = emitter.arguments
        build = emitter.build
        row_bytes, scale_bytes = build.mul(groups, int64(LEVELS * GROUP)), build.mul(groups, int64(4))
        upper_offset = build.mul(groups, int64(GROUP))
        begin = emitter.load(vector(F32), bias)
        value_rows = [emitter.at(values, build.mul(row_bytes, int64(row))) for row in range(rows)]
        scale_rows = [emitter.at(scales, build.mul(scale_bytes, int64(row))) for row in range(rows)]
        sum_bytes = build.mul(groups, int64(self._sum_bytes))
        sum_rows = [emitter.at(sums, build.mul(sum_bytes, int64(row))) for row in range(rows)]
        with emitter.loop(int64(0), groups, [begin] * rows) as group:
            codes, numbers = self._record.find(emitter, weights, groups, group.index)
            inputs = build.mul(group.index, int64(GROUP))
            place = build.mul(group.index, int64(4))
            place_of_sum = build.mul(group.index, int64(self._sum_bytes))
            # A few at a time: many at once would keep what is needed now from coming.
            with emitter.loop(int64(0), ahead_bytes, step=LINE_BYTES) as line:
                emitter.fetch(emitter.at(ahead, build.add(build.mul(group.index, ahead_bytes), line.index)), LINE_BYTES)
            lower_rows = [emitter.at(row, inputs) for row in value_rows]
            upper_rows = [emitter.at(row, build.add(inputs, upper_offset)) for row in value_rows]
            fours = build.zext(emitter.load(I8, outlying, group.index), I32)

            def products(part: range) -> list[Value]:
                these = build.and_(fours, int32(sum(1 << four for four in part)))
                upper = self._upper_products(emitter, codes, upper_rows, these)
                return self._plus_lower(emitter, codes, part, lower_rows, upper)

            def sums_of_rows(kind: Any, offset: int = 0) -> list[Value]:
                at = build.add(place_of_sum, int64(offset))
                return [emitter.splat(emitter.load(kind, row, at)) for row in sum_rows]

            totals = group.carried
            if self._facts.centre is None:
                scaled = self._scaled(emitter, self._record.floats(emitter, numbers, 0), products(_ALL))
                zero = self._record.floats(emitter, numbers, 1)
                totals = _plus_products(emitter, totals, zero, sums_of_rows(F32))
            elif not self._facts.halves:
                # Weights are held so much too large that none is below zero.
                whole = _differences(emitter, products(_ALL), sums_of_rows(I32))
                scaled = self._scaled(emitter, self._record.floats(emitter, numbers, 0), whole)
            else:
                first, second = (
                    _differences(emitter, products(half), sums_of_rows(I32, 4 * number))
                    for number, half in enumerate(_HALVES)
                )
                scaled = self._scaled(emitter, self._record.floats(emitter, numbers, 0), first)
                scale = self._record.floats(emitter, numbers, 1)
                in_floats = [build.sitofp(product, vector(F32)) for product in second]
                scaled = _plus_products(emitter, scaled, scale, in_floats)
            group.next = [
                emitter.plus_product(total, product, emitter.splat(emitter.load(F32, row, place)))
                for total, product, row in zip(totals, scaled, scale_rows, strict=True)
            ]
        for row in range(rows):
            emitter.store(group.carried[row], out, build.mul(stride, int64(row)))
        return emitter.finish()

    def _scaled(self, emitter: Emitter, scale: Value, products: list[Value]) -> list[Value]:
        return [emitter.times(scale, emitter.build.sitofp(product, vector(F32))) for product in products]

    def _upper_products(self, emitter: Emitter, codes: Value, rows: list[Value], outlying: Value) -> list[Value]:
        """Returns for each row 16 integers: one weight row's products with its upper parts, over some fours."""
        build = emitter.build
        none = [constant(I32, 0)] * len(rows)
        before = build.block
        with build.if_then(build.icmp_unsigned("!=", outlying, int32(0)), likely=False):
            count = build.zext(emitter.call_intrinsic("llvm.ctpop.i32", I32, [outlying]), I64)
            with emitter.loop(int64(0), count, [outlying, *none]) as one:
                left, *sums = one.carried
                four = emitter.call_intrinsic("llvm.cttz.i32", I32, [left, ir.Constant(ir.IntType(1), 1)])
                weights = self._record.any_four(emitter, codes, four)
                place = build.zext(build.mul(four, int32(FOUR)), I64)
                rest = build.and_(left, build.sub(left, int32(1)))
                one.next = [rest, *self._plus_four(emitter, sums, weights, rows, place)]
            shifted = [build.shl(sums, constant(I32, PART_BITS)) for sums in one.carried[1:]]
            branch = build.block
        products = []
        for zero, some in zip(none, shifted, strict=True):
            sums = build.phi(vector(I32))
            sums.add_incoming(zero, before)
            sums.add_incoming(some, branch)
            products.append(sums)
        return products

    def _plus_lower(
        self, emitter: Emitter, codes: Value, fours: range, rows: list[Value], sums: list[Value]
    ) -> list[Value]:
        """Returns for each row 16 integers: one weight row's products with its lower parts added, over some fours."""
        for four in fours:
            sums = self._plus_four(emitter, sums, self._record.four(emitter, codes, four), rows, FOUR * four)
        return sums

    def _plus_four(
        self, emitter: Emitter, sums: list[Value], weights: Value, rows: list[Value], offset: Value
    ) -> list[Value]:
        fours = (emitter.build.bitcast(emitter.splat(emitter.load(I32, row, offset)), vector(I8, 64)) for row in rows)
        return [
            self._processor.plus_products(emitter, sum_, weights, four, self._facts.bits)
            for sum_, four in zip(sums, fours, strict=True)
        ]


def _plus_products(emitter: Emitter, totals: list[Value], factor: Value, others: list[Value]) -> list[Value]:
    return [emitter.plus_product(total, factor, other) for total, other in zip(totals, others, strict=True)]


def _differences(emitter: Emitter, products: list[Value], offsets: list[Value]) -> list[Value]:
    return [emitter.build.sub(product, offset) for product, offset in zip(products, offsets, strict=True)]
