"""A whole step over some tens of tokens of several sequences, from their embeddings to logits.

Every thread runs the function at once. They share outputs of linears and heads of attention by taking on parts, and
wait for each other six times a layer; what is cheap (norms, sums, rounding) each computes for itself, into memory of
its own, rather than wait once more.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.attention_kernel import AttentionKernel
from services.inference.engine.kernels.attention_reading import AttendedRows
from services.inference.engine.kernels.barrier import WORK, write_barrier
from services.inference.engine.kernels.emitter import ADDRESS, I64, Emitter, float32, int64
from services.inference.engine.kernels.linear_kernel import (
    GROUP,
    LEVELS,
    ROWS_AT_ONCE,
    LinearKernel,
    PackedLinear,
    QuantizedRows,
)
from services.inference.engine.kernels.row_kernels import write_add, write_gate, write_norm, write_quantize
from services.inference.engine.kernels.step_tables import LayerField, StepField, WorkspaceField

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.inference.engine.kernels.emitter import Value
    from services.inference.engine.kernels.processor import Processor


_PARTS = 4
"""How many parts of a linear a thread takes on where all are equally fast: one that is held up takes fewer."""
_QUANTIZED = (
    WorkspaceField.VALUES,
    WorkspaceField.SCALES,
    WorkspaceField.SUMS,
    WorkspaceField.OFFSETS,
    WorkspaceField.FINE,
)
"""Where `QuantizedRows` are, in their order."""


@dataclass(frozen=True, slots=True)
class StepShape:
    """What is fixed for a model. All sizes are multiples of 32, but the vocabulary, which is one of 16."""

    attention: AttentionShape
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    activation: str
    epsilon: float
    norms_after: bool

    @property
    def qkv(self) -> int:
        """Outputs of queries, keys and values."""
        return (self.attention.heads + 2 * self.attention.kv_heads) * self.attention.head_size

    @property
    def attended(self) -> int:
        """What attention gives for one token."""
        return self.attention.heads * self.attention.head_size


def write_step(module: Any, shape: StepShape, processor: Processor) -> Any:
    """Adds and returns the function `step`: `(table of StepFields, number of the thread)`."""
    return _StepWriter(module, shape, processor).write()


class _StepWriter:
    def __init__(self, module: Any, shape: StepShape, processor: Processor) -> None:
        self._shape = shape
        self._linears = {bits: LinearKernel(module, processor, bits) for bits in (4, 8)}
        self._norm = write_norm(module)
        self._add = write_add(module)
        self._quantize = write_quantize(module)
        self._gate = write_gate(module, shape.activation)
        self._barrier = write_barrier(module, x86=processor.x86)
        self._attention = AttentionKernel(module, shape.attention, self._norm, processor)
        self._emitter = Emitter(module, "step", [ADDRESS, I64])
        self._table, self._thread = self._emitter.arguments

    def write(self) -> Any:
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        self._threads = self._number(StepField.THREADS)
        self._rows = self._number(StepField.ROWS)
        workspaces = self._address(StepField.WORKSPACES)
        own = build.mul(self._thread, int64(8 * len(WorkspaceField)))
        self._own = {field: emitter.load_address(emitter.at(workspaces, own), 8 * field) for field in WorkspaceField}
        hidden = self._address(StepField.HIDDEN)
        size = build.mul(self._rows, int64(4 * shape.hidden))
        self._copy(hidden, self._own[WorkspaceField.HIDDEN], size)
        layers = self._address(StepField.LAYERS)
        with emitter.loop(int64(0), int64(shape.layers)) as layer:
            fields = emitter.at(layers, build.mul(layer.index, int64(8 * len(LayerField))))
            self._write_attention(layer.index, fields)
            self._write_mlp(fields)
        wanted = self._number(StepField.WANTED_ROWS)
        self._quantize_wanted(wanted)
        head = (self._address(StepField.HEAD), self._number(StepField.HEAD_BITS), self._address(StepField.HEAD_BIAS))
        logits = self._address(StepField.LOGITS)
        with self._share(int64(shape.vocabulary // 16), parts=4 * _PARTS) as tiles:
            self._linear(head, shape.hidden, logits, shape.vocabulary, tiles, rows=wanted)
        self._wait()
        return emitter.finish()

    def _write_attention(self, layer: Value, fields: Value) -> None:
        shape = self._shape
        self._quantize_hidden(self._layer_address(fields, LayerField.ATTENTION_NORM))
        qkv = self._layer_linear(fields, LayerField.QKV)
        with self._share(int64(shape.qkv // 16)) as tiles:
            self._linear(qkv, shape.hidden, self._address(StepField.QKV), shape.qkv, tiles)
        self._wait()
        self._attend(layer, fields)
        self._wait()
        out = self._address(StepField.ATTENTION_OUT)
        attended = self._address(StepField.ATTENDED)
        self._quantize_rows(attended, shape.attended)
        linear = self._layer_linear(fields, LayerField.OUT)
        with self._share(int64(shape.hidden // 16)) as tiles:
            self._linear(linear, shape.attended, out, shape.hidden, tiles)
        self._wait()
        self._add_to_hidden(out, self._layer_address(fields, LayerField.AFTER_ATTENTION_NORM))

    def _write_mlp(self, fields: Value) -> None:
        shape, emitter = self._shape, self._emitter
        build = emitter.build
        self._quantize_hidden(self._layer_address(fields, LayerField.MLP_NORM))
        linear = self._layer_linear(fields, LayerField.GATE_UP)
        pairs, active = self._address(StepField.PAIRS), self._address(StepField.ACTIVE)
        with self._share(int64(shape.intermediate // 16)) as (first, last):
            tiles = build.mul(first, int64(2)), build.mul(last, int64(2))
            self._linear(linear, shape.hidden, pairs, 2 * shape.intermediate, tiles)
            with emitter.loop(int64(0), self._rows) as row:
                of_row = (
                    emitter.at(buffer, build.mul(row.index, int64(4 * size)))
                    for buffer, size in ((pairs, 2 * shape.intermediate), (active, shape.intermediate))
                )
                build.call(self._gate, [*of_row, first, last])
        self._wait()
        self._quantize_rows(active, shape.intermediate)
        out = self._address(StepField.MLP_OUT)
        linear = self._layer_linear(fields, LayerField.DOWN)
        with self._share(int64(shape.hidden // 16)) as tiles:
            self._linear(linear, shape.intermediate, out, shape.hidden, tiles)
        self._wait()
        self._add_to_hidden(out, self._layer_address(fields, LayerField.AFTER_MLP_NORM))

    def _attend(self, layer: Value, fields: Value) -> None:
        """Keeps keys and values, then reads for this thread's share of the pairs of some rows and a head of keys."""
        emitter, shape = self._emitter, self._shape.attention
        build = emitter.build
        with self._share(build.mul(self._rows, int64(shape.kv_heads))) as part, emitter.loop(*part) as item:
            row, head = self._divided(item.index, shape.kv_heads)
            keys, values = self._cached(layer, row, head)
            head_bytes = 4 * shape.head_size
            own_key = build.mul(build.add(head, int64(shape.heads)), int64(head_bytes))
            key = emitter.at(self._qkv_row(row), own_key)
            value = emitter.at(key, shape.kv_heads * head_bytes)
            norm = self._layer_address(fields, LayerField.KEY_NORM)
            rotation = self._rotation(fields, row)
            emitter.build.call(self._attention.keep, [key, value, keys, values, *rotation, norm, self._position(row)])
        # A token may attend to others of this step.
        self._wait()
        runs = self._address(StepField.RUNS)
        count = build.mul(self._number(StepField.RUN_COUNT), int64(shape.kv_heads))
        with self._share(count) as part, emitter.loop(*part) as item:
            run, head = self._divided(item.index, shape.kv_heads)
            place = emitter.at(runs, build.mul(run, int64(16)))
            rows = self._attended_rows(layer, fields, emitter.load(I64, place), head)
            many = build.icmp_signed("==", emitter.load(I64, place, 8), int64(shape.rows_at_once))
            with build.if_else(many) as branches:
                for branch, all_ in zip(branches, (True, False), strict=True):
                    with branch:
                        self._attention.attend(emitter, rows, many=all_)

    def _attended_rows(self, layer: Value, fields: Value, row: Value, head: Value) -> AttendedRows:
        emitter, shape = self._emitter, self._shape.attention
        build = emitter.build
        own = build.mul(head, int64(4 * shape.shared_by * shape.head_size))
        keys, values = self._cached(layer, row, head)
        cosines, sines = self._rotation(fields, row)
        out_bytes = int64(4 * self._shape.attended)
        return AttendedRows(
            queries=emitter.at(self._qkv_row(row), own),
            query_bytes=int64(4 * self._shape.qkv),
            keys=keys,
            values=values,
            cosines=cosines,
            sines=sines,
            query_norm=self._layer_address(fields, LayerField.QUERY_NORM),
            window=self._layer_number(fields, LayerField.WINDOW),
            position=self._position(row),
            out=emitter.at(emitter.at(self._address(StepField.ATTENDED), build.mul(row, out_bytes)), own),
            out_bytes=out_bytes,
            own_queries=self._own[WorkspaceField.QUERIES],
            scores=self._own[WorkspaceField.SCORES],
        )

    def _divided(self, number: Value, by: int) -> tuple[Value, Value]:
        build = self._emitter.build
        return build.sdiv(number, int64(by)), build.srem(number, int64(by))

    def _position(self, row: Value) -> Value:
        return self._emitter.load(I64, self._address(StepField.POSITIONS), self._emitter.build.mul(row, int64(8)))

    def _qkv_row(self, row: Value) -> Value:
        return self._emitter.at(self._address(StepField.QKV), self._emitter.build.mul(row, int64(4 * self._shape.qkv)))

    def _rotation(self, fields: Value, row: Value) -> tuple[Value, Value]:
        emitter = self._emitter
        turn = emitter.build.mul(row, int64(4 * self._shape.attention.head_size))
        cosines, sines = (
            emitter.at(self._layer_address(fields, field), turn) for field in (LayerField.COSINES, LayerField.SINES)
        )
        return cosines, sines

    def _cached(self, layer: Value, row: Value, head: Value) -> tuple[Value, Value]:
        """Returns where a row's sequence has its keys and its values of one head."""
        emitter, shape = self._emitter, self._shape.attention
        build = emitter.build
        step = emitter.load(I64, self._address(StepField.CACHE_HEAD_BYTES), build.mul(row, int64(8)))
        place = build.mul(build.add(build.mul(layer, self._rows), row), int64(8))
        cache = emitter.load_address(self._address(StepField.CACHES), place)
        keys = emitter.at(cache, build.mul(step, head))
        return keys, emitter.at(keys, build.mul(step, int64(shape.kv_heads)))

    def _linear(
        self,
        linear: tuple[Value, Value, Value],
        inputs: int,
        out: Value,
        outputs: int,
        tiles: tuple[Value, Value],
        *,
        rows: Value = None,
    ) -> None:
        build = self._emitter.build
        weights, bits, bias = linear
        packed = PackedLinear(weights, bias, int64(inputs // GROUP))
        own = (self._own[field] for field in _QUANTIZED)
        quantized = QuantizedRows(self._rows if rows is None else rows, *own)
        with build.if_else(build.icmp_signed("==", bits, int64(4))) as branches:
            for kernel, branch in zip((self._linears[4], self._linears[8]), branches, strict=True):
                with branch:
                    kernel.call(self._emitter, packed, quantized, (out, int64(4 * outputs)), tiles)

    def _quantize_hidden(self, norm: Value) -> None:
        hidden, size = self._own[WorkspaceField.HIDDEN], self._shape.hidden
        with self._each_row(hidden, size) as (row, number):
            self._norm_row(row, norm, self._own[WorkspaceField.ROW])
            self._quantize_row(self._own[WorkspaceField.ROW], number, size)

    def _quantize_wanted(self, count: Value) -> None:
        emitter, size = self._emitter, self._shape.hidden
        wanted, hidden = self._address(StepField.WANTED), self._own[WorkspaceField.HIDDEN]
        with emitter.loop(int64(0), count) as place:
            number = emitter.load(I64, wanted, emitter.build.mul(place.index, int64(8)))
            row = emitter.at(hidden, emitter.build.mul(number, int64(4 * size)))
            self._norm_row(row, self._address(StepField.NORM), self._own[WorkspaceField.ROW])
            self._quantize_row(self._own[WorkspaceField.ROW], place.index, size)

    def _quantize_rows(self, rows: Value, size: int) -> None:
        with self._each_row(rows, size) as (row, number):
            self._quantize_row(row, number, size)

    def _quantize_row(self, row: Value, number: Value, size: int) -> None:
        emitter = self._emitter
        groups = size // GROUP
        block = emitter.build.sdiv(number, int64(ROWS_AT_ONCE))
        places = [
            emitter.at(self._own[field], emitter.build.mul(place, int64(step)))
            for field, place, step in (
                (WorkspaceField.VALUES, number, LEVELS * size),
                (WorkspaceField.SCALES, number, 4 * groups),
                (WorkspaceField.SUMS, number, 4 * groups),
                (WorkspaceField.OFFSETS, number, 4 * groups),
                (WorkspaceField.FINE, block, groups),
            )
        ]
        emitter.build.call(self._quantize, [row, *places, int64(groups), number])

    def _add_to_hidden(self, what: Value, norm: Value) -> None:
        shape, emitter = self._shape, self._emitter
        with self._each_row(what, shape.hidden) as (row, number):
            added = row
            if shape.norms_after:
                added = self._own[WorkspaceField.ROW]
                self._norm_row(row, norm, added)
            to = emitter.at(self._own[WorkspaceField.HIDDEN], emitter.build.mul(number, int64(4 * shape.hidden)))
            emitter.build.call(self._add, [to, added, int64(shape.hidden)])

    def _norm_row(self, row: Value, weight: Value, out: Value) -> None:
        shape = self._shape
        self._emitter.build.call(self._norm, [row, weight, out, int64(shape.hidden), float32(shape.epsilon)])

    @contextmanager
    def _each_row(self, rows: Value, size: int) -> Iterator[tuple[Value, Value]]:
        emitter = self._emitter
        with emitter.loop(int64(0), self._rows) as row:
            yield emitter.at(rows, emitter.build.mul(row.index, int64(4 * size))), row.index

    @contextmanager
    def _share(self, count: Value, parts: int = _PARTS) -> Iterator[tuple[Value, Value]]:
        """Writes a loop over this thread's share of `count` things: the first of a part, and the one after the last."""
        build = self._emitter.build
        size = build.sdiv(count, build.mul(self._threads, int64(parts)))
        least = build.select(build.icmp_signed(">", size, int64(1)), size, int64(1))
        taken = self._emitter.at(self._address(StepField.BARRIER), int64(WORK))
        with self._emitter.share(taken, count, least) as part:
            yield part

    def _wait(self) -> None:
        arguments = [self._address(StepField.BARRIER), self._threads, self._address(StepField.YIELD)]
        self._emitter.build.call(self._barrier, arguments)

    def _copy(self, source: Value, target: Value, size: Value) -> None:
        emitter = self._emitter
        with emitter.loop(int64(0), size, step=8) as part:
            emitter.store(emitter.load(I64, source, part.index), target, part.index)

    def _layer_linear(self, fields: Value, weights: LayerField) -> tuple[Value, Value, Value]:
        bits, bias = LayerField(weights + 1), LayerField(weights + 2)
        return (
            self._layer_address(fields, weights),
            self._layer_number(fields, bits),
            self._layer_address(fields, bias),
        )

    def _number(self, field: StepField) -> Value:
        return self._emitter.load(I64, self._table, 8 * field)

    def _address(self, field: StepField) -> Value:
        return self._emitter.load_address(self._table, 8 * field)

    def _layer_number(self, fields: Value, field: LayerField) -> Value:
        return self._emitter.load(I64, fields, 8 * field)

    def _layer_address(self, fields: Value, field: LayerField) -> Value:
        return self._emitter.load_address(fields, 8 * field)
