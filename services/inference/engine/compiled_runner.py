"""Runs the compiled step over all the work of a step at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from services.inference.engine.compiled_decoder import Span
from services.inference.engine.step_memory import MOST_ROWS

if TYPE_CHECKING:
    from services.inference.engine.compiled_decoder import CompiledDecoder
    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence
    from services.inference.engine.sequence_buffers import SequenceBuffers


class CompiledRunner:
    """A `Runner`: replies' tokens and prompts' go the same way, so a token gets the same in whatever pieces it is read.

    Args:
        decoder: The model.
        cache: Its keys and values.
    """

    is_exact = True
    """As `Runner.is_exact`."""

    def __init__(self, decoder: CompiledDecoder, cache: SequenceBuffers) -> None:
        self._decoder = decoder
        self._cache = cache
        self.device = torch.device("cpu")

    def open(self, sequence: Sequence) -> int | None:
        """As `Runner.open`."""
        return self._cache.open(sequence)

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        self._cache.close(sequence)

    def shut_down(self) -> None:
        """As `Runner.shut_down`."""
        self._decoder.close()

    @torch.inference_mode()
    def run(self, works: list[Work]) -> torch.Tensor:
        """As `Runner.run`."""
        parts: list[torch.Tensor] = []
        group: list[tuple[Work, int, int]] = []
        left = MOST_ROWS
        for work in works:
            begin, last = work.begin, work.end + len(work.draft)
            while begin < last:
                end = min(begin + left, last)
                group.append((work, begin, end))
                left -= end - begin
                begin = end
                if not left:
                    # What the next call would overwrite is copied.
                    parts.append(self._forward(group).clone())
                    group, left = [], MOST_ROWS
        if group:
            parts.append(self._forward(group))
        if not parts:
            return torch.empty(0)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _forward(self, pieces: list[tuple[Work, int, int]]) -> torch.Tensor:
        tokens: list[int] = []
        spans: list[Span] = []
        wanted: list[int] = []
        for work, begin, end in pieces:
            buffer = self._cache.buffer(work.sequence)
            self._cache.look_ahead(work.sequence, begin, end)
            spans.append(Span(buffer.layers, buffer.head_bytes, begin, end))
            before = len(tokens) - begin
            tokens += work.sequence.tokens[begin : min(end, work.end)]
            tokens += work.draft[max(begin - work.end, 0) : max(end - work.end, 0)]
            if work.completes:
                wanted += range(max(before + work.end - 1, before + begin), before + end)
        return self._decoder.forward(tokens, spans, wanted)
