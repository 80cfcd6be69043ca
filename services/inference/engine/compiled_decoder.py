"""Computes steps of few tokens by compiled code.

Weights in blocks of 4 to 8 bits, inputs of linears rounded to bytes, keys and values too, sums in 32-bit floats.
What a token gets does not hang on which others share its step.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from services.inference.engine.kernels.attention_shape import AttentionShape
from services.inference.engine.kernels.compiler import CompiledStep
from services.inference.engine.kernels.step_kernel import StepShape
from services.inference.engine.kernels.step_tables import StepField
from services.inference.engine.kv_buffer import BufferShape, KVBuffer
from services.inference.engine.step_memory import StepMemory
from services.inference.engine.thread_places import ThreadPlaces

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.inference.engine.block_linears import DecoderBlocks
    from services.inference.engine.block_model import BlockModel
    from services.inference.engine.decoder_config import DecoderConfig


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
        config = model.config
        self._config = config
        self._embedding = model.weights.embedding
        self._embedding_scale = torch.tensor(config.embedding_scale, dtype=self._embedding.dtype)
        self._shape = _step_shape(config, model.blocks)
        self._code = CompiledStep(self._shape, features)
        self._pipe = os.pipe()
        self._memory = StepMemory(model, self._shape, threads=threads, context_tokens=context_tokens, pipe=self._pipe)
        table = self._memory.table.data_ptr()
        self._closed = False
        self._servants = [
            threading.Thread(target=self._code.serve, args=(table, number), name=f"decoder-{number}", daemon=True)
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
        memory, count = self._memory, len(tokens)
        hidden = self._embedding.look_up(tokens)
        if self._config.embedding_scale != 1.0:
            hidden = hidden * self._embedding_scale
        memory.hidden[:count] = hidden
        positions = torch.cat([torch.arange(span.begin, span.end) for span in spans])
        memory.positions[:count] = positions
        for number, rope in enumerate(self._config.ropes):
            angles = positions[:, None].float() * rope.inverse_frequencies
            half = angles.shape[1]
            cosines, sines = angles.cos() * rope.scale, angles.sin() * rope.scale
            memory.cosines[number, :count, :half] = cosines
            memory.cosines[number, :count, half:] = cosines
            memory.sines[number, :count, :half] = -sines
            memory.sines[number, :count, half:] = sines
        sizes = [span.tokens for span in spans]
        memory.head_bytes[:count] = torch.from_numpy(np.repeat([span.head_bytes for span in spans], sizes))
        addresses = np.repeat(np.stack([span.layers for span in spans], axis=1), sizes, axis=1)
        memory.caches[: addresses.size] = torch.from_numpy(addresses.reshape(-1))
        runs = torch.tensor(self._runs_of(sizes))
        memory.runs[: len(runs)], memory.run_sizes[: len(runs)] = runs[:, 0], runs[:, 1]
        memory.table[StepField.RUN_COUNT] = len(runs)
        memory.wanted[: len(wanted)] = torch.tensor(wanted, dtype=torch.long)
        memory.table[StepField.ROWS] = count
        memory.table[StepField.WANTED_ROWS] = len(wanted)
        logits = memory.logits(len(wanted))
        self._code.lead(memory.table.data_ptr())
        logits = logits[:, : len(self._embedding)]
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
        return [bool(state) for state in self._memory.states[1:, 0].tolist()]

    def close(self) -> None:
        """Ends the threads. Nothing can be computed afterwards; without effect where that was done."""
        if self._closed:
            return
        self._closed = True
        self._memory.table[StepField.STOP] = 1
        self._code.lead(self._memory.table.data_ptr())
        for servant in self._servants:
            servant.join()
        for end in self._pipe:
            os.close(end)


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
        forms=blocks.forms,
    )
