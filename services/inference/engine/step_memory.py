"""What a compiled step reads and writes, and the table that tells it where all of that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from services.inference.engine.block_forms import FORMS, GROUP
from services.inference.engine.kernels.attention_shape import TILE
from services.inference.engine.kernels.barrier import BARRIER_BYTES
from services.inference.engine.kernels.linear_kernel import LEVELS, ROWS_AT_ONCE
from services.inference.engine.kernels.step_tables import LayerField, StepField, WorkspaceField
from services.kernels.emitter import LINE_BYTES

if TYPE_CHECKING:
    from services.inference.engine.block_linears import BlockLinear
    from services.inference.engine.block_model import BlockModel
    from services.inference.engine.kernels.step_kernel import StepShape

MOST_ROWS = 128
"""Tokens that there is room for in a step."""


class StepMemory:
    """Memory of a model's steps, its weights among it. What is named like a `StepField` is as that says.

    Args:
        model: Its weights.
        shape: Its shape.
        threads: How many compute.
        context_tokens: Longest sequence.
        pipe: Numbers of the files that sleeping threads read from, and that wakes them.
    """

    def __init__(
        self, model: BlockModel, shape: StepShape, *, threads: int, context_tokens: int, pipe: tuple[int, int]
    ) -> None:
        config = model.config
        self._shape = shape
        # Everything whose address the compiled code is given, kept from being freed.
        self._kept: list[torch.Tensor] = []
        self.table = torch.zeros(len(StepField), dtype=torch.long)
        """The `StepField`s. What changes from step to step is to be set: counts of rows and of runs."""
        self.states = torch.zeros((threads, LINE_BYTES // 8), dtype=torch.long)
        self.hidden = torch.zeros(MOST_ROWS, config.hidden_size)
        self.cosines = torch.zeros(len(config.ropes), MOST_ROWS, config.head_size)
        """Of each of the model's rotations."""
        self.sines = torch.zeros(len(config.ropes), MOST_ROWS, config.head_size)
        self.positions = _integers(MOST_ROWS)
        self.head_bytes = _integers(MOST_ROWS)
        """As `StepField.CACHE_HEAD_BYTES`."""
        self.wanted = _integers(MOST_ROWS)
        self.caches = _integers(config.layers * MOST_ROWS)
        self.runs = _integers(MOST_ROWS)
        self.run_sizes = _integers(MOST_ROWS)
        self._logits = torch.zeros(0, shape.logits_row)
        self._fill_table(model, threads, context_tokens, pipe)

    def logits(self, count: int) -> torch.Tensor:
        """Returns room for so many rows of logits, each as long as `StepShape.logits_row` says."""
        if len(self._logits) < count:
            # Vocabularies are large, and few models have many replies under way.
            self._logits = torch.zeros(min(2 * count, MOST_ROWS), self._shape.logits_row)
            self.table[StepField.LOGITS] = self._logits.data_ptr()
        return self._logits[:count]

    def _fill_table(self, model: BlockModel, threads: int, context_tokens: int, pipe: tuple[int, int]) -> None:
        shape, weights, blocks = self._shape, model.weights, model.blocks
        intermediate = shape.intermediate
        fields = {
            StepField.THREADS: threads,
            StepField.BARRIER: self._room(BARRIER_BYTES),
            StepField.GENERATION: self._room(LINE_BYTES),
            StepField.STATES: self.states.data_ptr(),
            StepField.PIPE_OUT: pipe[0],
            StepField.PIPE_IN: pipe[1],
            StepField.BYTE: self._room(LINE_BYTES),
            StepField.POSITIONS: self.positions.data_ptr(),
            StepField.CACHES: self.caches.data_ptr(),
            StepField.CACHE_HEAD_BYTES: self.head_bytes.data_ptr(),
            StepField.ALL: self._keep(torch.arange(MOST_ROWS)),
            StepField.RUNS: self.runs.data_ptr(),
            StepField.RUN_SIZES: self.run_sizes.data_ptr(),
            StepField.HIDDEN: self.hidden.data_ptr(),
            StepField.QKV: self._room(4 * MOST_ROWS * shape.attention.outputs),
            StepField.ATTENDED: self._room(4 * MOST_ROWS * shape.attention.attended),
            StepField.ATTENTION_OUT: self._room(4 * MOST_ROWS * shape.hidden),
            StepField.PAIRS: self._room(8 * MOST_ROWS * intermediate),
            StepField.ACTIVE: self._room(4 * MOST_ROWS * intermediate),
            StepField.MLP_OUT: self._room(4 * MOST_ROWS * shape.hidden),
            StepField.NORM: self._kept_floats(weights.norm),
            StepField.HEAD: self._keep(blocks.head.weights),
            StepField.HEAD_FORM: FORMS[blocks.head.form].number,
            StepField.HEAD_BIAS: self._keep(blocks.head.bias),
            StepField.WANTED: self.wanted.data_ptr(),
            StepField.LAYERS: self._keep(self._layer_table(model)),
            StepField.WORKSPACES: self._keep(self._workspaces(threads, context_tokens)),
        }
        for field, value in fields.items():
            self.table[field] = value

    def _layer_table(self, model: BlockModel) -> torch.Tensor:
        config, weights, blocks = model.config, model.weights, model.blocks
        table = torch.zeros(config.layers, len(LayerField), dtype=torch.long)
        for row, number in zip(table, range(config.layers), strict=True):
            norms, linears = weights.layers[number], blocks.layers[number]
            weights_of = {
                LayerField.ATTENTION_NORM: norms.attention,
                LayerField.QUERY_NORM: norms.query,
                LayerField.KEY_NORM: norms.key,
                LayerField.AFTER_ATTENTION_NORM: norms.after_attention,
                LayerField.MLP_NORM: norms.mlp,
                LayerField.AFTER_MLP_NORM: norms.after_mlp,
            }
            for field, norm in weights_of.items():
                if norm is not None:
                    row[field] = self._kept_floats(norm)
            self._enter_linear(row, LayerField.QKV, linears.qkv)
            self._enter_linear(row, LayerField.OUT, linears.attention_out)
            self._enter_linear(row, LayerField.GATE_UP, linears.gate_up)
            self._enter_linear(row, LayerField.DOWN, linears.down)
            rope = config.rope_of_layer[number]
            row[LayerField.COSINES] = self.cosines[rope].data_ptr()
            row[LayerField.SINES] = self.sines[rope].data_ptr()
            window = config.windows[number]
            row[LayerField.WINDOW] = torch.iinfo(torch.int32).max if window is None else window
        return table

    def _enter_linear(self, row: torch.Tensor, field: LayerField, linear: BlockLinear) -> None:
        row[field] = self._keep(linear.weights)
        row[field + 1] = FORMS[linear.form].number
        row[field + 2] = self._keep(linear.bias)

    def _workspaces(self, threads: int, context_tokens: int) -> torch.Tensor:
        shape = self._shape
        widest = max(shape.hidden, shape.attention.attended, shape.intermediate)
        queries = shape.attention.shared_by * shape.attention.rows_at_once
        sizes = {
            WorkspaceField.HIDDEN: 4 * MOST_ROWS * shape.hidden,
            WorkspaceField.ROW: 4 * widest,
            WorkspaceField.VALUES: LEVELS * MOST_ROWS * widest,
            WorkspaceField.SCALES: MOST_ROWS * widest // 8,
            WorkspaceField.SUMS: MOST_ROWS * widest // 8,
            WorkspaceField.OFFSETS: MOST_ROWS * widest // 8,
            WorkspaceField.HALVES: MOST_ROWS * widest // 4,
            WorkspaceField.OUTLYING: MOST_ROWS * widest // (ROWS_AT_ONCE * GROUP),
            WorkspaceField.QUERIES: queries * shape.attention.query_bytes,
            WorkspaceField.SCORES: 4 * queries * (context_tokens + 2 * TILE),
        }
        return torch.tensor([[self._room(sizes[field]) for field in WorkspaceField] for _ in range(threads)])

    def _keep(self, tensor: torch.Tensor) -> int:
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _kept_floats(self, tensor: torch.Tensor) -> int:
        return self._keep(tensor.float().contiguous())

    def _room(self, size: int) -> int:
        """Returns the address of so many zeroed bytes; torch begins all memory at a cache line."""
        return self._keep(torch.zeros(size, dtype=torch.uint8))


def _integers(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.long)
