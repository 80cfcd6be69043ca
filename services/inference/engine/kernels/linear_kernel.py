"""Linears over block-quantized weights and inputs: a group of 32 has one scale.

The inputs are rounded to one integer of 8 bits, or to two where a group's largest value is far beyond the others: there
one would leave too little of them. Together that loses less than bf16 does. Products are added as integers: exact, so a
row gives the same whatever rows are computed beside it. `block_weights` says how weights lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.inference.engine.kernels.emitter import (
    ADDRESS,
    F32,
    I8,
    I16,
    I32,
    I64,
    LANES,
    Emitter,
    constant,
    int64,
    vector,
)

if TYPE_CHECKING:
    from services.inference.engine.kernels.emitter import Value
    from services.inference.engine.kernels.processor import Processor

GROUP = 32
"""Weights along a row that share a scale."""
_RECORD = {4: 64 + 256, 8: 64 + 512}
"""Bytes of one group of 16 rows: scales, then weights."""
LEVELS = 2
"""8-bit integers that there is room for, an input."""
ROWS_AT_ONCE = 8
"""Rows of inputs that are taken together while weights are at hand: they share what says of how many integers a group's
inputs are."""
PART_BITS = 7
"""Of the lower one."""
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
    """8-bit integers, shape `(rows, groups, 2, 32)`: a group's upper parts, then its lower ones, or zeros."""
    scales: Value
    """Floats, shape `(rows, groups)`."""
    sums: Value
    """Of each group's integers times their scale: floats, shape `(rows, groups)`. For weights of 4 bits."""
    offsets: Value
    """128 times the sum of each group's integers, 32 bits, shape `(rows, groups)`. For weights of 8 bits."""
    fine: Value
    """Bytes, shape `(rows / ROWS_AT_ONCE, groups)`: other than 0 where there is a lower part in any of the rows."""


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
        tiles: tuple[Value, Value],
    ) -> None:
        """Writes a call.

        Args:
            emitter: The function that is written.
            linear: What is applied.
            inputs: What to.
            out: Address of floats, and bytes from one row of them to the next.
            tiles: The first of the tiles of 16 outputs to compute, and the one after the last.
        """
        sums = inputs.sums if self._bits == 4 else inputs.offsets
        rows = (inputs.values, inputs.scales, sums, inputs.fine, inputs.count)
        emitter.build.call(self._function, [linear.weights, linear.bias, *rows, linear.groups, *out, *tiles])

    def _write(self, blocks: dict[int, Any]) -> Any:
        emitter = Emitter(self._module, f"linear{self._bits}", [ADDRESS] * 6 + [I64] * 2 + [ADDRESS] + [I64] * 3)
        weights, bias, values, scales, sums, fine, rows, groups, out, stride, first, last = emitter.arguments
        build = emitter.build
        tile_bytes = build.mul(groups, int64(_RECORD[self._bits]))
        row_bytes, scale_bytes = build.mul(groups, int64(LEVELS * GROUP)), build.mul(groups, int64(4))
        with emitter.loop(first, last) as tile:
            lanes = build.mul(tile.index, int64(4 * LANES))
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
                            emitter.at(fine, build.mul(build.sdiv(row.index, int64(ROWS_AT_ONCE)), groups)),
                            groups,
                            emitter.at(emitter.at(out, build.mul(row.index, stride)), lanes),
                            stride,
                        ],
                    )
                begin = end
        return emitter.finish()

    def _write_tile(self, rows: int) -> Any:
        name = f"linear{self._bits}_rows{rows}"
        emitter = Emitter(self._module, name, [ADDRESS] * 6 + [I64, ADDRESS, I64])
        weights, bias, values, scales, sums, fine, groups, out, stride = emitter.arguments
        build = emitter.build
        row_bytes, scale_bytes = build.mul(groups, int64(LEVELS * GROUP)), build.mul(groups, int64(4))
        begin = emitter.load(vector(F32), bias)
        value_rows = [emitter.at(values, build.mul(row_bytes, int64(row))) for row in range(rows)]
        scale_rows = [emitter.at(scales, build.mul(scale_bytes, int64(row))) for row in range(rows)]
        sum_rows = [emitter.at(sums, build.mul(scale_bytes, int64(row))) for row in range(rows)]
        with emitter.loop(int64(0), groups, [begin] * rows) as group:
            record = emitter.at(weights, build.mul(group.index, int64(_RECORD[self._bits])))
            inputs = build.mul(group.index, int64(LEVELS * GROUP))
            place = build.mul(group.index, int64(4))
            is_fine = build.icmp_unsigned("!=", emitter.load(I8, fine, group.index), ir.Constant(I8, 0))
            inner_rows = [emitter.at(v, inputs) for v in value_rows]
            products = self._products(emitter, record, inner_rows, is_fine)
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

    def _products(self, emitter: Emitter, record: Value, rows: list[Value], is_fine: Value) -> list[Value]:
        """Returns for each row 16 integers: one weight row's products with it, over the group."""
        build = emitter.build
        upper = self._plus_level(emitter, record, rows, [constant(I32, 0)] * len(rows))
        coarse = [build.shl(sums, constant(I32, PART_BITS)) for sums in upper]
        before = build.block
        with build.if_then(is_fine):
            lower_rows = [emitter.at(row, int64(GROUP)) for row in rows]
            both = self._plus_level(emitter, record, lower_rows, coarse)
            branch = build.block
        products = []
        for one, other in zip(coarse, both, strict=True):
            sums = build.phi(vector(I32))
            sums.add_incoming(one, before)
            sums.add_incoming(other, branch)
            products.append(sums)
        return products

    def _plus_level(self, emitter: Emitter, record: Value, rows: list[Value], sums: list[Value]) -> list[Value]:
        build = emitter.build
        for part in range(GROUP // (8 if self._bits == 4 else 4)):
            packed = emitter.load(vector(I8, 64), record, 64 + 64 * part)
            if self._bits == 4:
                low = build.and_(packed, constant(I8, 15, 64))
                high = build.lshr(packed, constant(I8, 4, 64))
                pieces = [(low, 8 * part), (high, 8 * part + 4)]
            else:
                pieces = [(packed, 4 * part)]
            for weights, offset in pieces:
                fours = [build.bitcast(emitter.splat(emitter.load(I32, row, offset)), vector(I8, 64)) for row in rows]
                sums = [
                    self._processor.plus_products(emitter, sum_, weights, four, self._bits)
                    for sum_, four in zip(sums, fours, strict=True)
                ]
        return sums
