"""The part of a step in which tokens attend to those before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.attention_kernel import AttentionKernel
from services.inference.engine.kernels.attention_reading import AttendedRows
from services.inference.engine.kernels.attention_shape import BLOCK
from services.inference.engine.kernels.step_function import Rows
from services.inference.engine.kernels.step_tables import LayerField, StepField, WorkspaceField
from services.kernels.emitter import I64, int64

if TYPE_CHECKING:
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.inference.engine.kernels.step_function import StepFunction
    from services.kernels.emitter import Value
    from services.kernels.processor import Processor

_FETCHED = 1024
"""Bytes of the keys and of the values that are read next, asked for ahead: those of a short conversation are not many
more, and the processor notices late that they are read one after the other."""


class StepAttention:
    """Writes it into the step's function.

    Args:
        module: What both are a part of.
        shape: The model's.
        norm: The function that norms a row.
        processor: What it is written for.
        step: The function.
    """

    def __init__(self, module: Any, shape: AttentionShape, norm: Any, processor: Processor, step: StepFunction) -> None:
        self._shape = shape
        self._step = step
        self._kernel = AttentionKernel(module, shape, norm, processor)

    def write(self, layer: Value, fields: Value, is_last: Value) -> None:
        """Keeps keys and values, then reads for this thread's share of the pairs of some rows and a head of keys.

        Args:
            layer: Its number.
            fields: Address of its `LayerField`s.
            is_last: Whether it is the last: then only for rows whose logits are asked for, each alone.
        """
        step, emitter, shape = self._step, self._step.emitter, self._shape
        build = emitter.build
        blocks = build.sdiv(build.add(step.all.count, int64(BLOCK - 1)), int64(BLOCK))
        with step.share(build.mul(blocks, int64(shape.kv_heads))) as part, emitter.loop(*part) as item:
            # Tokens of a block share cache lines: were they kept by several threads, these would wait for each other.
            head, block = self._divided(item.index, blocks)
            first = build.mul(block, int64(BLOCK))
            with emitter.loop(first, emitter.least(build.add(first, int64(BLOCK)), step.all.count)) as row:
                self._keep(layer, fields, row.index, head)
        # A token may attend to others of this step.
        step.wait()
        runs = step.wanted.if_(emitter, is_last, Rows(step.number(StepField.RUN_COUNT), step.address(StepField.RUNS)))
        sizes = step.address(StepField.RUN_SIZES)
        items = build.mul(runs.count, int64(shape.kv_heads))
        with step.share(items) as part, emitter.loop(*part) as item:
            # One head after the other: its keys and values stay at hand while tokens of a prompt are read for.
            head, run = self._divided(item.index, runs.count)
            rows = self._attended_rows(layer, fields, runs.number(emitter, run), head)
            following = build.add(item.index, int64(1))
            with emitter.when(build.icmp_signed("<", following, items)):
                next_head, next_run = self._divided(following, runs.count)
                for cached in self._cached(layer, runs.number(emitter, next_run), next_head):
                    emitter.fetch(cached, _FETCHED)
            size = emitter.load(I64, sizes, build.mul(run, int64(8)))
            many = build.icmp_signed("==", size, int64(shape.rows_at_once))
            many = build.and_(many, build.not_(is_last))
            with build.if_else(many) as branches:
                for branch, all_ in zip(branches, (True, False), strict=True):
                    with branch:
                        self._kernel.attend(emitter, rows, many=all_)

    def _keep(self, layer: Value, fields: Value, row: Value, head: Value) -> None:
        step, emitter, shape = self._step, self._step.emitter, self._shape
        build = emitter.build
        keys, values = self._cached(layer, row, head)
        head_bytes = 4 * shape.head_size
        own_key = build.mul(build.add(head, int64(shape.heads)), int64(head_bytes))
        key = emitter.at(self._qkv_row(row), own_key)
        value = emitter.at(key, shape.kv_heads * head_bytes)
        norm = step.layer_address(fields, LayerField.KEY_NORM)
        rotation = self._rotation(fields, row)
        build.call(self._kernel.keep, [key, value, keys, values, *rotation, norm, self._position(row)])

    def _attended_rows(self, layer: Value, fields: Value, row: Value, head: Value) -> AttendedRows:
        step, emitter, shape = self._step, self._step.emitter, self._shape
        build = emitter.build
        own = build.mul(head, int64(4 * shape.shared_by * shape.head_size))
        keys, values = self._cached(layer, row, head)
        cosines, sines = self._rotation(fields, row)
        out_bytes = int64(4 * self._shape.attended)
        return AttendedRows(
            queries=emitter.at(self._qkv_row(row), own),
            query_bytes=int64(4 * self._shape.outputs),
            keys=keys,
            values=values,
            cosines=cosines,
            sines=sines,
            query_norm=step.layer_address(fields, LayerField.QUERY_NORM),
            window=step.layer_number(fields, LayerField.WINDOW),
            position=self._position(row),
            out=emitter.at(emitter.at(step.address(StepField.ATTENDED), build.mul(row, out_bytes)), own),
            out_bytes=out_bytes,
            own_queries=step.own[WorkspaceField.QUERIES],
            scores=step.own[WorkspaceField.SCORES],
        )

    def _divided(self, number: Value, by: Value) -> tuple[Value, Value]:
        build = self._step.emitter.build
        return build.sdiv(number, by), build.srem(number, by)

    def _position(self, row: Value) -> Value:
        return self._step.emitter.load(
            I64, self._step.address(StepField.POSITIONS), self._step.emitter.build.mul(row, int64(8))
        )

    def _qkv_row(self, row: Value) -> Value:
        return self._step.emitter.at(
            self._step.address(StepField.QKV), self._step.emitter.build.mul(row, int64(4 * self._shape.outputs))
        )

    def _rotation(self, fields: Value, row: Value) -> tuple[Value, Value]:
        emitter = self._step.emitter
        turn = emitter.build.mul(row, int64(4 * self._shape.head_size))
        cosines, sines = (
            emitter.at(self._step.layer_address(fields, field), turn)
            for field in (LayerField.COSINES, LayerField.SINES)
        )
        return cosines, sines

    def _cached(self, layer: Value, row: Value, head: Value) -> tuple[Value, Value]:
        """Returns where a row's sequence has its keys and its values of one head."""
        step, emitter, shape = self._step, self._step.emitter, self._shape
        build = emitter.build
        head_bytes = emitter.load(I64, step.address(StepField.CACHE_HEAD_BYTES), build.mul(row, int64(8)))
        place = build.mul(build.add(build.mul(layer, step.all.count), row), int64(8))
        cache = emitter.load_address(step.address(StepField.CACHES), place)
        keys = emitter.at(cache, build.mul(head_bytes, head))
        return keys, emitter.at(keys, build.mul(head_bytes, int64(shape.kv_heads)))
