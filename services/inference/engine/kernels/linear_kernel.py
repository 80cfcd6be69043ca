"""Linears over block-quantized weights and inputs: a group of 32 has one scale.

The inputs are rounded to integers of 8 bits. Where one value of a group is far beyond the others, these have the scale
to themselves, and it has an upper part besides. Together that loses less than bf16 does. Products are added as
integers: exact, so a row gives the same whatever rows are computed beside it. `block_weights` says how weights lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.kernels.emitter import (
    ADDRESS,
    F32,
    I8,
    I16,
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

GROUP = 32
"""Weights along a row that share a scale."""
_RECORD = {4: 64 + 256, 8: 64 + 512}
"""Bytes of one group of 16 rows: scales, then weights."""
FOUR = 4
"""Inputs whose products are added by one instruction."""
LEVELS = 2
"""8-bit integers that there is room for, an input."""
ROWS_AT_ONCE = 8
"""Rows of inputs that are taken together while weights are at hand: they share what says which of a group's inputs have
an upper part."""
PART_BITS = 7
"""Of the lower part, where there is an upper one."""
_BLOCKS = (ROWS_AT_ONCE, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """Where a linear's weights are."""

    weights: Value
    """As `block_weights` packs them."""
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
    """Of each group's integers times their scale: floats, shape `(rows, groups)`. For weights of 4 bits."""
    offsets: Value
    """128 times the sum of each group's integers, 32 bits, shape `(rows, groups)`. For weights of 8 bits."""
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
    """The functions of linears with weights of 4 or 8 bits.

    Args:
        module: What they become a part of.
        processor: What they are compiled for.
        bits: Of a weight.
    """

    def __init__(self, module: Any, processor: Processor, bits: int) -> None:
        self._module = module
        self._processor = processor
        self._bits = bits
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
        sums = inputs.sums if self._bits == 4 else inputs.offsets
        rows = (inputs.values, inputs.scales, sums, inputs.outlying, inputs.count)
        which = (tiles.first, tiles.end, tiles.passed_over)
        emitter.build.call(self._function, [linear.weights, linear.bias, *rows, linear.groups, *out, *which])

    def _write(self, blocks: dict[int, Any]) -> Any:
        emitter = Emitter(self._module, f"linear{self._bits}", [ADDRESS] * 6 + [I64] * 2 + [ADDRESS] + [I64] * 4)
        weights, bias, values, scales, sums, outlying, rows, groups, out, stride, *which = emitter.arguments
        tiles = Tiles(*which)
        build = emitter.build
        tile_bytes = build.mul(groups, int64(_RECORD[self._bits]))
        lines = self._lines_at_once(emitter, rows)
        row_bytes, scale_bytes = build.mul(groups, int64(LEVELS * GROUP)), build.mul(groups, int64(4))
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
                            emitter.at(sums, build.mul(row.index, scale_bytes)),
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
        return build.sdiv(build.add(blocks, int64(_RECORD[self._bits] // LINE_BYTES - 1)), blocks)

    def _ahead(self, emitter: Emitter, tile: Value, row: Value, groups: Value, lines: Value) -> tuple[Value, Value]:
        """Returns what a block of rows asks for of a tile: where it begins, and bytes a group."""
        build = emitter.build
        before = build.mul(build.sdiv(build.add(row, int64(ROWS_AT_ONCE - 1)), int64(ROWS_AT_ONCE)), lines)
        left = emitter.most(build.sub(int64(_RECORD[self._bits] // LINE_BYTES), before), int64(0))
        begin = emitter.at(tile, build.mul(build.mul(before, groups), int64(LINE_BYTES)))
        return begin, build.mul(emitter.least(lines, left), int64(LINE_BYTES))

    def _write_tile(self, rows: int) -> Any:
        name = f"linear{self._bits}_rows{rows}"
        emitter = Emitter(self._module, name, [ADDRESS] * 6 + [I64, ADDRESS, I64, ADDRESS, I64])
        weights, bias, values, scales, sums, outlying, groups, out, stride, ahead, ahead_bytes = emitter.arguments
        build = emitter.build
        row_bytes, scale_bytes = build.mul(groups, int64(LEVELS * GROUP)), build.mul(groups, int64(4))
        upper_offset = build.mul(groups, int64(GROUP))
        begin = emitter.load(vector(F32), bias)
        value_rows = [emitter.at(values, build.mul(row_bytes, int64(row))) for row in range(rows)]
        scale_rows = [emitter.at(scales, build.mul(scale_bytes, int64(row))) for row in range(rows)]
        sum_rows = [emitter.at(sums, build.mul(scale_bytes, int64(row))) for row in range(rows)]
        with emitter.loop(int64(0), groups, [begin] * rows) as group:
            record = emitter.at(weights, build.mul(group.index, int64(_RECORD[self._bits])))
            inputs = build.mul(group.index, int64(GROUP))
            place = build.mul(group.index, int64(4))
            # A few at a time: many at once would keep what is needed now from coming.
            with emitter.loop(int64(0), ahead_bytes, step=LINE_BYTES) as line:
                emitter.fetch(emitter.at(ahead, build.add(build.mul(group.index, ahead_bytes), line.index)), LINE_BYTES)
            upper_rows = [emitter.at(v, build.add(inputs, upper_offset)) for v in value_rows]
            fours = build.zext(emitter.load(I8, outlying, group.index), I32)
            upper = self._upper_products(emitter, record, upper_rows, fours)
            products = self._plus_lower(emitter, record, [emitter.at(v, inputs) for v in value_rows], upper)
            totals = []
            if self._bits == 4:
                weight_scale, zero = (
                    self._processor.from_fp16(emitter, emitter.load(vector(I16), record, 2 * LANES * n)) for n in (0, 1)
                )
                for row, total in enumerate(group.carried):
                    row_sum = emitter.splat(emitter.load(F32, sum_rows[row], place))
                    totals.append(emitter.plus_product(total, zero, row_sum))
            else:
                weight_scale = emitter.load(vector(F32), record)
                totals = group.carried
                # Weights are held 128 too large, so that none is below zero.
                products = [
                    build.sub(product, emitter.splat(emitter.load(I32, row, place)))
                    for product, row in zip(products, sum_rows, strict=True)
                ]
            scaled = [emitter.times(weight_scale, build.sitofp(product, vector(F32))) for product in products]
            group.next = [
                emitter.plus_product(total, product, emitter.splat(emitter.load(F32, row, place)))
                for total, product, row in zip(totals, scaled, scale_rows, strict=True)
            ]
        for row in range(rows):
            emitter.store(group.carried[row], out, build.mul(stride, int64(row)))
        return emitter.finish()

    def _upper_products(self, emitter: Emitter, record: Value, rows: list[Value], outlying: Value) -> list[Value]:
        """Returns for each row 16 integers: one weight row's products with its upper parts, over the group."""
        build = emitter.build
        none = [constant(I32, 0)] * len(rows)
        before = build.block
        with build.if_then(build.icmp_unsigned("!=", outlying, int32(0)), likely=False):
            count = build.zext(emitter.call_intrinsic("llvm.ctpop.i32", I32, [outlying]), I64)
            with emitter.loop(int64(0), count, [outlying, *none]) as one:
                left, *sums = one.carried
                four = emitter.call_intrinsic("llvm.cttz.i32", I32, [left, ir.Constant(ir.IntType(1), 1)])
                weights = self._weights_of(emitter, record, four)
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

    def _weights_of(self, emitter: Emitter, record: Value, four: Value) -> Value:
        """Returns the 64 weights that the given of a group's fours of inputs is multiplied with."""
        build = emitter.build
        part = build.lshr(four, int32(1)) if self._bits == 4 else four
        packed = emitter.load(vector(I32), record, build.add(int64(64), build.zext(build.shl(part, int32(6)), I64)))
        if self._bits == 4:
            half = build.shl(build.and_(four, int32(1)), int32(2))
            packed = build.and_(build.lshr(packed, emitter.splat(half)), constant(I32, 0x0F0F0F0F))
        return build.bitcast(packed, vector(I8, 64))

    def _plus_lower(self, emitter: Emitter, record: Value, rows: list[Value], sums: list[Value]) -> list[Value]:
        """Returns for each row 16 integers: one weight row's products with its lower parts added, over the group."""
        build = emitter.build
        for part in range(GROUP // (2 * FOUR if self._bits == 4 else FOUR)):
            packed = emitter.load(vector(I8, 64), record, 64 + 64 * part)
            if self._bits == 4:
                low = build.and_(packed, constant(I8, 15, 64))
                # Shifted as pairs of bytes: for shifts of bytes LLVM takes an instruction of the units that multiply.
                shifted = build.lshr(build.bitcast(packed, vector(I16, 32)), constant(I16, 4, 32))
                high = build.and_(build.bitcast(shifted, vector(I8, 64)), constant(I8, 15, 64))
                pieces = [(low, 2 * FOUR * part), (high, 2 * FOUR * part + FOUR)]
            else:
                pieces = [(packed, FOUR * part)]
            for weights, offset in pieces:
                sums = self._plus_four(emitter, sums, weights, rows, offset)
        return sums

    def _plus_four(
        self, emitter: Emitter, sums: list[Value], weights: Value, rows: list[Value], offset: Value
    ) -> list[Value]:
        fours = (emitter.build.bitcast(emitter.splat(emitter.load(I32, row, offset)), vector(I8, 64)) for row in rows)
        return [
            self._processor.plus_products(emitter, sum_, weights, four, self._bits)
            for sum_, four in zip(sums, fours, strict=True)
        ]
