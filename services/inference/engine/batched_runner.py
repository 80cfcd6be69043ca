"""Runs the slim decoder over all the work of a step at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import torch

from services.inference.engine.attention import DecodeAttention, PrefillAttention, StepAttention

if TYPE_CHECKING:
    from services.inference.engine.decoder import Decoder
    from services.inference.engine.kv_lane import Lane
    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence
    from services.inference.engine.sequence_cache import SequenceCache


@dataclass(frozen=True, slots=True)
class _Placed:
    """Work, and where its sequence's keys and values are."""

    index: int
    """In the step."""
    work: Work
    lane: Lane
    row: int


class BatchedRunner:
    """A `Runner`: one forward pass a step, for one token of each reply under way and prompts' tokens beside them.

    Args:
        decoder: The model.
        cache: Its keys and values.
    """

    is_exact = False
    """As `Runner.is_exact`."""

    def __init__(self, decoder: Decoder, cache: SequenceCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self.device = decoder.device

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
        if not works:
            return torch.empty(0)
        placed = [_Placed(n, work, *self._cache.place(work.sequence)) for n, work in enumerate(works)]
        decoding = sorted((p for p in placed if _is_one_token(p.work)), key=lambda p: (p.lane.capacity, p.row))
        prefilling = [p for p in placed if not _is_one_token(p.work)]
        ordered = [*decoding, *prefilling]
        logits = self._run_decoder(decoding, prefilling)
        for work in works:
            self._cache.note_length(work.sequence, work.end)
        # Logits in the works' own order.
        indexes = [p.index for p in ordered if p.work.completes]
        order = sorted(range(len(indexes)), key=indexes.__getitem__)
        return logits if order == list(range(len(order))) else logits[order]

    def _run_decoder(self, decoding: list[_Placed], prefilling: list[_Placed]) -> torch.Tensor:
        ordered = [*decoding, *prefilling]
        ids = [token for p in ordered for token in p.work.sequence.tokens[p.work.begin : p.work.end]]
        positions = [position for p in ordered for position in range(p.work.begin, p.work.end)]
        return self._decoder.forward(
            torch.tensor(ids, device=self.device),
            torch.tensor(positions, device=self.device),
            StepAttention((*self._decode_parts(decoding), *self._prefill_parts(prefilling))),
            torch.tensor(_last_of_completed(ordered), dtype=torch.long, device=self.device),
        )

    def _decode_parts(self, decoding: list[_Placed]) -> list[tuple[int, DecodeAttention]]:
        parts = []
        for lane, same in groupby(decoding, key=attrgetter("lane")):
            group = list(same)
            rows, positions = [p.row for p in group], [p.work.begin for p in group]
            parts.append((len(group), DecodeAttention(self._decoder.config, lane, rows, positions)))
        return parts

    def _prefill_parts(self, prefilling: list[_Placed]) -> list[tuple[int, PrefillAttention]]:
        return [
            (
                p.work.end - p.work.begin,
                PrefillAttention(self._decoder.config, p.lane, p.row, p.work.begin, p.work.end),
            )
            for p in prefilling
        ]


def _is_one_token(work: Work) -> bool:
    return work.end - work.begin == 1


def _last_of_completed(ordered: list[_Placed]) -> list[int]:
    """Returns where in the step's row of tokens the last token of each completed work is."""
    ends: list[int] = []
    end = 0
    for placed in ordered:
        end += placed.work.end - placed.work.begin
        if placed.work.completes:
            ends.append(end - 1)
    return ends
