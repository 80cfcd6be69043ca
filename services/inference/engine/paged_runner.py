"""Runs the slim decoder in steps of fixed shapes: replies' tokens by replay, prompts beside them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from services.inference.engine.paged_attention import PagedAttention
from services.inference.engine.recorded_steps import RecordedSteps
from services.inference.engine.step_input import Piece, StepInput
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.decoder import Decoder
    from services.inference.engine.recorded_steps import Recorder
    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence
    from services.inference.engine.sequence_pages import SequencePages
    from services.inference.engine.step_shapes import StepShapes

    _Numbered = tuple[int, Work]
    """Work, and its place in the step."""

_log = structlog.get_logger()

_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""cuDNN's plans its kernel anew for each shape."""


class PagedRunner:
    """A `Runner`: one pass for replies' tokens, and as few as fit for prompts.

    Args:
        decoder: The model.
        cache: Its keys and values.
        shapes: Of steps.
    """

    is_exact = False
    """As `Runner.is_exact`."""

    def __init__(self, decoder: Decoder, cache: SequencePages, shapes: StepShapes) -> None:
        self._decoder = decoder
        self._cache = cache
        self._shapes = shapes
        self.device = decoder.device
        most_rows = shapes.decode_shape(shapes.most_rows, 1).rows
        row = torch.empty(decoder.vocabulary_size, dtype=decoder.dtype, device=decoder.device)
        self._decode_steps = RecordedSteps(self._compute_decode, most_rows, row)

    def fuse(self) -> None:
        """Has the model's small operations made few; where that cannot be, it is told in the log and they stay many."""
        began = time.monotonic()
        self._decoder.fuse()
        try:
            # For one row code is made, and once more for any number of them.
            for rows in (1, 2):
                self._decode_steps.run(self._shapes.decode_shape(rows, 1), ())
        except (RuntimeError, OSError, ImportError) as failure:
            self._decoder.unfuse()
            _log.warning("operations cannot be fused and run slower", failure=where(failure))
        else:
            _log.info("operations fused", seconds=round(time.monotonic() - began, 1))

    def record(self, recorder: Recorder, most_seconds: float, tell: Callable[[str], None]) -> None:
        """Records the steps of one token a sequence; as `RecordedSteps.record`."""
        self._decode_steps.record(recorder, self._shapes.decode(), most_seconds, tell)

    def open(self, sequence: Sequence) -> int | None:
        """As `Runner.open`."""
        return self._cache.open(sequence)

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        self._cache.close(sequence)

    def shut_down(self) -> None:
        """As `Runner.shut_down`."""

    @torch.inference_mode()
    def run(self, works: list[Work]) -> torch.Tensor:
        """As `Runner.run`."""
        numbered = list(enumerate(works))
        decoding = [one for one in numbered if _size(one) == 1]
        groups = self._shapes.decode_groups(decoding, _end)
        order: list[int] = []
        parts: list[torch.Tensor] = []
        for group in groups:
            shape = self._shapes.decode_shape(len(group), _end(group[0]))
            logits = self._decode_steps.run(shape, [self._piece(work) for _, work in group])
            completed = [(row, number) for row, (number, work) in enumerate(group) if work.completes]
            if len(completed) < len(group):
                logits = logits[[row for row, _ in completed]]
            # The next group's come to lie in the same place.
            parts.append(logits if len(groups) == 1 else logits.clone())
            order += [number for _, number in completed]
        for group in self._shapes.prefill_groups([one for one in numbered if _size(one) > 1], _size, _end):
            parts.append(self._prefill(group))
            order += [number for number, work in group if work.completes]
        if not order:
            if self.device.type == "cuda":
                # Nobody waits for this step's numbers, but its memory must not be written to before it has ended.
                torch.cuda.synchronize(self.device)
            return torch.empty(0)
        logits = parts[0] if len(parts) == 1 else torch.cat(parts)
        if order == sorted(order):
            return logits
        return logits[torch.tensor(sorted(range(len(order)), key=order.__getitem__), device=self.device)]

    def _prefill(self, group: list[_Numbered]) -> torch.Tensor:
        given = StepInput(
            self._shapes.prefill_shape(len(group), max(map(_size, group)), max(map(_end, group))), self.device
        )
        given.fill([self._piece(work) for _, work in group])
        rows = torch.tensor([row for row, (_, work) in enumerate(group) if work.completes], dtype=torch.long)
        return self._compute(given, given.last[rows.to(self.device)])

    def _compute_decode(self, given: StepInput) -> torch.Tensor:
        return self._compute(given, given.last)

    def _compute(self, given: StepInput, wanted: torch.Tensor) -> torch.Tensor:
        attention = PagedAttention(self._decoder.config, self._cache.memory.data, given)
        with sdpa_kernel(_KERNELS):
            return self._decoder.forward(given.tokens, given.positions, attention, wanted)

    def _piece(self, work: Work) -> Piece:
        tokens = work.sequence.tokens[work.begin : work.end]
        return Piece(tokens, work.begin, self._cache.pages(work.sequence))


def _size(numbered: _Numbered) -> int:
    return numbered[1].end - numbered[1].begin


def _end(numbered: _Numbered) -> int:
    return numbered[1].end
