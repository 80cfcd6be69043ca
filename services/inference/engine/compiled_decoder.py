"""Computes steps of few tokens by compiled code.

Weights in blocks of 4 or 8 bits, inputs of linears rounded to bytes, keys and values too, sums in 32-bit floats.
What a token gets does not hang on which others share its step.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from services.inference.engine.kernels.attention_shape import TILE, AttentionShape
from services.inference.engine.kernels.barrier import BARRIER_BYTES
from services.inference.engine.kernels.compiler import CompiledStep
from services.inference.engine.kernels.linear_kernel import GROUP, LEVELS, ROWS_AT_ONCE
from services.inference.engine.kernels.step_kernel import StepShape
from services.inference.engine.kernels.step_tables import LayerField, StepField, WorkspaceField
from services.inference.engine.kv_buffer import BufferShape, KVBuffer
from services.inference.engine.thread_places import ThreadPlaces
from services.kernels.emitter import LINE_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.inference.engine.block_model import BlockModel
    from services.inference.engine.block_weights import BlockLinear, DecoderBlocks
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.decoder_weights import DecoderWeights

MOST_ROWS = 128
"""More tokens are computed in several goes."""


def can_compile(config: DecoderConfig) -> bool:
    """Whether the compiled step is made for a model of this shape."""
    sizes = (config.hidden_size, config.intermediate_size, config.head_size)
    return all(size % 32 == 0 for size in sizes) and config.heads % config.kv_heads == 0


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of one sequence that follow one another, and where their keys and values belong."""

    layers: npt.NDArray[np.int64]
    """Addresses, one a layer, as `StepField.CACHES` has them."""
    head_bytes: int
    """From one head to the next."""
    begin: int
    """Position of the first token in its sequence."""
    end: int
    """Position after the last."""

    @property
    def tokens(self) -> int:
        """How many there are."""
        return self.end - self.begin


class CompiledDecoder:
    """A decoder's weights and working memory, and the threads that compute with them.

    Args:
        model: Its weights.
        threads: How many compute.
        context_tokens: Longest sequence.
        features: As `CompiledStep` has them.
    """

    def __init__(
        self,
        model: BlockModel,
        *,
        threads: int,
        context_tokens: int,
        features: str | None = None,
    ) -> None:
        config, weights = model.config, model.weights
        self._config = config
        self._embedding = weights.embedding
        self._embedding_scale = torch.tensor(config.embedding_scale, dtype=weights.embedding.dtype)
        self._shape = _step_shape(config, model.blocks)
        self._code = CompiledStep(self._shape, features)
        # Everything whose address the compiled code is given, kept from being freed.
        self._kept: list[torch.Tensor] = []
        self._table = torch.zeros(len(StepField), dtype=torch.long)
        self._pipe = os.pipe()
        self._states = torch.zeros((threads, LINE_BYTES // 8), dtype=torch.long)
        self._hidden = self._floats(MOST_ROWS, config.hidden_size)
        self._logits = self._floats(0, self._shape.logits_row)
        self._cosines = self._floats(len(config.ropes), MOST_ROWS, config.head_size)
        self._sines = self._floats(len(config.ropes), MOST_ROWS, config.head_size)
        self._positions = self._integers(MOST_ROWS)
        self._head_bytes = self._integers(MOST_ROWS)
        self._wanted = self._integers(MOST_ROWS)
        self._caches = self._integers(config.layers * MOST_ROWS)
        self._runs = self._integers(MOST_ROWS)
        self._run_sizes = self._integers(MOST_ROWS)
        self._fill_table(weights, model.blocks, threads, context_tokens)
        self._closed = False
        self._servants = [
            threading.Thread(
                target=self._code.serve, args=(self._table.data_ptr(), number), name=f"decoder-{number}", daemon=True
            )
            for number in range(1, threads)
        ]
        for servant in self._servants:
            servant.start()
        self._places: ThreadPlaces | None = None

    def forward(self, tokens: list[int], spans: list[Span], wanted: list[int]) -> torch.Tensor:
        """Computes at most `MOST_ROWS` new tokens, and keeps their keys and values.

        Args:
            tokens: Token ids, those of the spans one after the other.
            spans: Where their keys and values belong.
            wanted: Which of the tokens' logits are asked for.

        Returns:
            Logits, fp32, shape `(wanted, vocabulary)`; to be read before the next call.
        """
        if self._places is None:
            # Whoever computes first leads from then on.
            servants = [servant.native_id for servant in self._servants]
            self._places = ThreadPlaces([threading.get_native_id(), *(n for n in servants if n is not None)])
        self._places.look()
        count = len(tokens)
        hidden = torch.nn.functional.embedding(torch.tensor(tokens), self._embedding)
        if self._config.embedding_scale != 1.0:
            hidden = hidden * self._embedding_scale
        self._hidden[:count] = hidden
        positions = torch.cat([torch.arange(span.begin, span.end) for span in spans])
        self._positions[:count] = positions
        for number, rope in enumerate(self._config.ropes):
            angles = positions[:, None].float() * rope.inverse_frequencies
            half = angles.shape[1]
            cosines, sines = angles.cos() * rope.scale, angles.sin() * rope.scale
            self._cosines[number, :count, :half] = cosines
            self._cosines[number, :count, half:] = cosines
            self._sines[number, :count, :half] = -sines
            self._sines[number, :count, half:] = sines
        sizes = [span.tokens for span in spans]
        self._head_bytes[:count] = torch.from_numpy(np.repeat([span.head_bytes for span in spans], sizes))
        addresses = np.repeat(np.stack([span.layers for span in spans], axis=1), sizes, axis=1)
        self._caches[: addresses.size] = torch.from_numpy(addresses.reshape(-1))
        runs = torch.tensor(self._runs_of(sizes))
        self._runs[: len(runs)], self._run_sizes[: len(runs)] = runs[:, 0], runs[:, 1]
        self._table[StepField.RUN_COUNT] = len(runs)
        self._wanted[: len(wanted)] = torch.tensor(wanted, dtype=torch.long)
        self._table[StepField.ROWS] = count
        self._table[StepField.WANTED_ROWS] = len(wanted)
        if len(self._logits) < len(wanted):
            # Vocabularies are large, and few models have many replies under way.
            self._logits = self._floats(min(2 * len(wanted), MOST_ROWS), self._shape.logits_row)
            self._table[StepField.LOGITS] = self._logits.data_ptr()
        self._code.lead(self._table.data_ptr())
        logits = self._logits[: len(wanted), : len(self._embedding)]
        cap = self._config.logits_cap
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def computes(self) -> bool:
        """Computes once, and returns whether numbers come out of it."""
        tokens = 8
        buffer = KVBuffer(BufferShape.of(self._config), tokens)
        span = Span(buffer.layers, buffer.head_bytes, 0, tokens)
        return bool(torch.isfinite(self.forward([0] * tokens, [span], [tokens - 1])).all())

    def _runs_of(self, sizes: list[int]) -> list[tuple[int, int]]:
        together = self._shape.attention.rows_at_once
        runs = []
        row = 0
        for size in sizes:
            whole = row + size - size % together
            runs += [(first, together) for first in range(row, whole, together)]
            runs += [(first, 1) for first in range(whole, row + size)]
            row += size
        return runs

    @property
    def asleep(self) -> list[bool]:
        """For each thread but the first whether it sleeps until the next step."""
        return [bool(state) for state in self._states[1:, 0].tolist()]

    def close(self) -> None:
        """Ends the threads. Nothing can be computed afterwards; without effect where that was done."""
        if self._closed:
            return
        self._closed = True
        self._table[StepField.STOP] = 1
        self._code.lead(self._table.data_ptr())
        for servant in self._servants:
            servant.join()
        for end in self._pipe:
            os.close(end)

    def _fill_table(self, weights: DecoderWeights, blocks: DecoderBlocks, threads: int, context_tokens: int) -> None:
        shape = self._shape
        intermediate = shape.intermediate
        fields = {
            StepField.THREADS: threads,
            StepField.BARRIER: self._room(BARRIER_BYTES),
            StepField.GENERATION: self._room(LINE_BYTES),
            StepField.STATES: self._states.data_ptr(),
            StepField.PIPE_OUT: self._pipe[0],
            StepField.PIPE_IN: self._pipe[1],
            StepField.BYTE: self._room(LINE_BYTES),
            StepField.POSITIONS: self._positions.data_ptr(),
            StepField.CACHES: self._caches.data_ptr(),
            StepField.CACHE_HEAD_BYTES: self._head_bytes.data_ptr(),
            StepField.ALL: self._keep(torch.arange(MOST_ROWS)),
            StepField.RUNS: self._runs.data_ptr(),
            StepField.RUN_SIZES: self._run_sizes.data_ptr(),
            StepField.HIDDEN: self._hidden.data_ptr(),
            StepField.QKV: self._room(4 * MOST_ROWS * shape.attention.outputs),
            StepField.ATTENDED: self._room(4 * MOST_ROWS * shape.attention.attended),
            StepField.ATTENTION_OUT: self._room(4 * MOST_ROWS * shape.hidden),
            StepField.PAIRS: self._room(8 * MOST_ROWS * intermediate),
            StepField.ACTIVE: self._room(4 * MOST_ROWS * intermediate),
            StepField.MLP_OUT: self._room(4 * MOST_ROWS * shape.hidden),
            StepField.NORM: self._kept_floats(weights.norm),
            StepField.HEAD: self._keep(blocks.head.weights),
            StepField.HEAD_BITS: blocks.head.bits,
            StepField.HEAD_BIAS: self._keep(blocks.head.bias),
            StepField.WANTED: self._wanted.data_ptr(),
            StepField.LAYERS: self._keep(self._layer_table(weights, blocks)),
            StepField.WORKSPACES: self._keep(self._workspaces(threads, context_tokens)),
        }
        for field, value in fields.items():
            self._table[field] = value

    def _layer_table(self, weights: DecoderWeights, blocks: DecoderBlocks) -> torch.Tensor:
        config = self._config
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
            row[LayerField.COSINES] = self._cosines[rope].data_ptr()
            row[LayerField.SINES] = self._sines[rope].data_ptr()
            window = config.windows[number]
            row[LayerField.WINDOW] = torch.iinfo(torch.int32).max if window is None else window
        return table

    def _enter_linear(self, row: torch.Tensor, field: LayerField, linear: BlockLinear) -> None:
        row[field] = self._keep(linear.weights)
        row[field + 1] = linear.bits
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

    def _floats(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape)

    def _integers(self, count: int) -> torch.Tensor:
        return torch.zeros(count, dtype=torch.long)


def _step_shape(config: DecoderConfig, blocks: DecoderBlocks) -> StepShape:
    attention = AttentionShape(
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_size=config.head_size,
        scale=config.attention_scale,
        cap=config.attention_cap,
        heads_normed=config.heads_normed,
        epsilon=config.norm_epsilon,
    )
    return StepShape(
        attention=attention,
        layers=config.layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        vocabulary=len(blocks.head.bias),
        activation=config.activation,
        epsilon=config.norm_epsilon,
        norms_after=config.norms_after,
    )
