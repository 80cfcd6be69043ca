"""A whole step over some tens of tokens of several sequences, from their embeddings to logits.

Every thread runs the function at once. They share outputs of linears and heads of attention by taking on parts, and
wait for each other six times a layer. What is cheap (norms, sums, rounding) each computes for itself where there are
few tokens, into memory of its own, rather than wait once more; where there are many they share that too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.inference.engine.block_forms import FORMS, GROUP
from services.inference.engine.kernels.linear_kernel import (
    LEVELS,
    ROWS_AT_ONCE,
    LinearKernel,
    PackedLinear,
    QuantizedRows,
    Tiles,
)
from services.inference.engine.kernels.linear_rounding import write_quantize
from services.inference.engine.kernels.row_kernels import write_add, write_gate, write_norm
from services.inference.engine.kernels.step_attention import StepAttention
from services.inference.engine.kernels.step_function import PARTS, QUANTIZED, StepFunction
from services.inference.engine.kernels.step_tables import LayerField, StepField, WorkspaceField
from services.kernels.emitter import LANES, float32, int64

if TYPE_CHECKING:
    from services.inference.engine.block_forms import Form
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.inference.engine.kernels.step_function import Rows
    from services.inference.engine.kernels.waiting import Waiting
    from services.kernels.emitter import Value
    from services.kernels.processor import Processor


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
    forms: frozenset[Form]
    """Of weights: as many as there are."""

    @property
    def logits_row(self) -> int:
        """Floats from one row of logits to the next: an odd number of cache lines.

        A cache has few places for lines that are a power of two apart, as those of vocabularies often are.
        """
        return LANES * (self.vocabulary // LANES | 1)


def write_step(module: Any, shape: StepShape, processor: Processor, waiting: Waiting) -> Any:
    """Adds and returns the function `step`: `(table of StepFields, number of the thread)`."""
    return _StepWriter(module, shape, processor, waiting).write()


@dataclass(frozen=True, slots=True)
class _Linear:
    """Where the table says that a linear is."""

    weights: Value
    form: Value
    """Of weights: its number."""
    bias: Value


class _StepWriter:
    def __init__(self, module: Any, shape: StepShape, processor: Processor, waiting: Waiting) -> None:
        self._shape = shape
        self._linears = {form: LinearKernel(module, processor, form) for form in sorted(shape.forms)}
        self._norm = write_norm(module)
        self._add = write_add(module)
        self._quantize = write_quantize(module)
        self._gate = write_gate(module, shape.activation)
        self._step = StepFunction(module, waiting, shape.hidden)
        self._attention = StepAttention(module, shape.attention, self._norm, processor, self._step)
        self._emitter = self._step.emitter

    def write(self) -> Any:
        step, emitter, shape = self._step, self._emitter, self._shape
        build = emitter.build
        layers = step.address(StepField.LAYERS)
        with emitter.loop(int64(0), int64(shape.layers)) as layer:
            fields = emitter.at(layers, build.mul(layer.index, int64(8 * len(LayerField))))
            # What the last layer would make of tokens whose logits nobody asks for is of no use.
            is_last = build.icmp_signed("==", layer.index, int64(shape.layers - 1))
            rows = step.wanted.if_(emitter, is_last, step.all)
            self._write_attention(layer.index, fields, rows, is_last)
            self._write_mlp(fields, rows)
        head = _Linear(
            step.address(StepField.HEAD), step.number(StepField.HEAD_FORM), step.address(StepField.HEAD_BIAS)
        )
        self._quantize_hidden(step.address(StepField.NORM), step.wanted, head)
        logits = step.address(StepField.LOGITS)
        with step.share(int64(shape.vocabulary // 16), parts=4 * PARTS) as tiles:
            self._linear(head, step.wanted.count, shape.hidden, (logits, shape.logits_row), tiles)
        step.wait()
        return step.finish()

    def _write_attention(self, layer: Value, fields: Value, rows: Rows, is_last: Value) -> None:
        step, shape = self._step, self._shape
        qkv = self._layer_linear(fields, LayerField.QKV)
        self._quantize_hidden(step.layer_address(fields, LayerField.ATTENTION_NORM), step.all, qkv)
        size = shape.attention.outputs
        with step.share(int64(size // 16)) as tiles:
            self._linear(qkv, step.all.count, shape.hidden, (step.address(StepField.QKV), size), tiles)
        step.wait()
        self._attention.write(layer, fields, is_last)
        step.wait()
        out = step.address(StepField.ATTENTION_OUT)
        attended, size = step.address(StepField.ATTENDED), shape.attention.attended
        linear = self._layer_linear(fields, LayerField.OUT)

        def quantize(place: Value, row: Value) -> None:
            self._quantize_row(step.row_of(attended, size, row), place, size, linear)

        step.each_row(rows, quantize)
        with step.share(int64(shape.hidden // 16)) as tiles:
            self._linear(linear, rows.count, size, (out, shape.hidden), tiles)
        step.wait()
        self._add_to_hidden(out, step.layer_address(fields, LayerField.AFTER_ATTENTION_NORM), rows)

    def _write_mlp(self, fields: Value, rows: Rows) -> None:
        step, shape, emitter = self._step, self._shape, self._emitter
        build = emitter.build
        linear = self._layer_linear(fields, LayerField.GATE_UP)
        self._quantize_hidden(step.layer_address(fields, LayerField.MLP_NORM), rows, linear)
        pairs, active = step.address(StepField.PAIRS), step.address(StepField.ACTIVE)
        with step.share(int64(shape.intermediate // 16)) as (first, last):
            tiles = build.mul(first, int64(2)), build.mul(last, int64(2))
            self._linear(linear, rows.count, shape.hidden, (pairs, 2 * shape.intermediate), tiles)
            with emitter.loop(int64(0), rows.count) as row:
                of_row = (
                    emitter.at(buffer, build.mul(row.index, int64(4 * size)))
                    for buffer, size in ((pairs, 2 * shape.intermediate), (active, shape.intermediate))
                )
                build.call(self._gate, [*of_row, first, last])
        step.wait()
        linear = self._layer_linear(fields, LayerField.DOWN)

        def quantize(place: Value, _: Value) -> None:
            self._quantize_row(step.row_of(active, shape.intermediate, place), place, shape.intermediate, linear)

        step.each_row(rows, quantize)
        out = step.address(StepField.MLP_OUT)
        with step.share(int64(shape.hidden // 16)) as tiles:
            self._linear(linear, rows.count, shape.intermediate, (out, shape.hidden), tiles)
        step.wait()
        self._add_to_hidden(out, step.layer_address(fields, LayerField.AFTER_MLP_NORM), rows)

    def _linear(
        self,
        linear: _Linear,
        rows: Value,
        inputs: int,
        outputs: tuple[Value, int],
        tiles: tuple[Value, Value],
    ) -> None:
        step, build = self._step, self._emitter.build
        out, size = outputs
        packed = PackedLinear(linear.weights, linear.bias, int64(inputs // GROUP))
        own = (step.own[field] for field in QUANTIZED)
        quantized = QuantizedRows(rows, *own)
        # Each of the others takes on a part of the same size.
        first, end = tiles
        part = Tiles(first, end, build.mul(build.sub(step.threads, int64(1)), build.sub(end, first)))
        for form, kernel in self._linears.items():
            with self._emitter.when(build.icmp_signed("==", linear.form, int64(FORMS[form].number))):
                kernel.call(self._emitter, packed, quantized, (out, int64(4 * size)), part)

    def _quantize_hidden(self, norm: Value, rows: Rows, linear: _Linear) -> None:
        step, size = self._step, self._shape.hidden

        def quantize(place: Value, row: Value) -> None:
            self._norm_row(step.row_of(step.hidden, size, row), norm, step.own[WorkspaceField.ROW])
            self._quantize_row(step.own[WorkspaceField.ROW], place, size, linear)

        step.each_row(rows, quantize)

    def _quantize_row(self, row: Value, number: Value, size: int, linear: _Linear) -> None:
        step, emitter = self._step, self._emitter
        groups = size // GROUP
        block = emitter.build.sdiv(number, int64(ROWS_AT_ONCE))
        places = [
            emitter.at(step.own[field], emitter.build.mul(place, int64(size_of_one)))
            for field, place, size_of_one in (
                (WorkspaceField.VALUES, number, LEVELS * size),
                (WorkspaceField.SCALES, number, 4 * groups),
                (WorkspaceField.SUMS, number, 4 * groups),
                (WorkspaceField.OFFSETS, number, 4 * groups),
                (WorkspaceField.HALVES, number, 8 * groups),
                (WorkspaceField.OUTLYING, block, groups),
            )
        ]
        emitter.build.call(self._quantize, [row, *places, int64(groups), number, linear.form])

    def _add_to_hidden(self, what: Value, norm: Value, rows: Rows) -> None:
        step, size = self._step, self._shape.hidden

        def add(place: Value, row: Value) -> None:
            added = step.row_of(what, size, place)
            if self._shape.norms_after:
                self._norm_row(added, norm, step.own[WorkspaceField.ROW])
                added = step.own[WorkspaceField.ROW]
            self._emitter.build.call(self._add, [step.row_of(step.hidden, size, row), added, int64(size)])

        step.each_row(rows, add)

    def _norm_row(self, row: Value, weight: Value, out: Value) -> None:
        shape = self._shape
        self._emitter.build.call(self._norm, [row, weight, out, int64(shape.hidden), float32(shape.epsilon)])

    def _layer_linear(self, fields: Value, weights: LayerField) -> _Linear:
        step = self._step
        form, bias = LayerField(weights + 1), LayerField(weights + 2)
        return _Linear(
            step.layer_address(fields, weights), step.layer_number(fields, form), step.layer_address(fields, bias)
        )
