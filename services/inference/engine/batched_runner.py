"""Runs the slim decoder over all the work of a step at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import torch

from services.inference.engine.attention import DecodeAttention, PrefillAttention, StepAttention
from services.inference.engine.compiled_decoder import MOST_ROWS, CachedRow
from services.inference.engine.kv_cache import KVCache, kv_shape
from services.inference.engine.prefix_cache import PrefixCache

if TYPE_CHECKING:
    from services.inference.engine.compiled_decoder import CompiledDecoder
    from services.inference.engine.decoder import Decoder
    from services.inference.engine.kv_lane import Lane
    from services.inference.engine.prefix_cache import Key
    from services.inference.engine.protocol import EngineRequest
    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence


_MANY_TOKENS = 128
"""Prompt tokens from which on the decoder is the faster one."""


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
        compiled: The same model, for replies' tokens and few of prompts beside them; None: the decoder computes all.
        max_running: Most sequences at the same time.
        context_tokens: Longest sequence.
        kv_cache_tokens: Most tokens of running sequences that there is memory for.
        prefix_cache_tokens: Most tokens of ended ones whose keys and values are kept.
    """

    def __init__(
        self,
        decoder: Decoder,
        compiled: CompiledDecoder | None = None,
        *,
        max_running: int,
        context_tokens: int,
        kv_cache_tokens: int,
        prefix_cache_tokens: int,
    ) -> None:
        self._decoder = decoder
        self._compiled = compiled
        self._context = context_tokens
        self._cache = KVCache(
            kv_shape(decoder.config, decoder.dtype, decoder.device),
            capacity=kv_cache_tokens,
            most_sequences=max_running,
            context_tokens=context_tokens,
        )
        self._prefixes: PrefixCache[list[torch.Tensor]] = PrefixCache(prefix_cache_tokens)
        self.device = decoder.device

    def open(self, sequence: Sequence) -> int | None:
        """As `Runner.open`."""
        request = sequence.request
        most = min(len(request.prompt) + request.sampling.max_tokens, self._context)
        if not self._cache.reserve(sequence.number, most):
            return None
        found = [self._prefixes.find(key, request.prompt) for key in _keys(request)]
        prefix = max((p for p in found if p is not None), key=lambda p: p.length, default=None)
        if prefix is None:
            return 0
        self._cache.copy_in(sequence.number, prefix.cache, prefix.length)
        return prefix.length

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        if self._cache.holds(sequence.number):
            conversation, system = _keys(sequence.request)
            self._keep(conversation, sequence, sequence.computed)
            self._keep(system, sequence, min(sequence.request.system_tokens, sequence.computed))
        self._cache.release(sequence.number)

    def _keep(self, key: Key, sequence: Sequence, length: int) -> None:
        tokens = tuple(sequence.tokens[:length])
        if self._prefixes.takes(key, length) and not self._prefixes.holds(key, tokens):
            self._prefixes.keep(key, tokens, self._cache.copy_out(sequence.number, length))

    @torch.inference_mode()
    def run(self, works: list[Work]) -> torch.Tensor:
        """As `Runner.run`."""
        if not works:
            return torch.empty(0)
        placed = [_Placed(n, work, *self._cache.place(work.sequence.number)) for n, work in enumerate(works)]
        decoding = sorted((p for p in placed if _is_one_token(p.work)), key=lambda p: (p.lane.capacity, p.row))
        prefilling = [p for p in placed if not _is_one_token(p.work)]
        ordered = [*decoding, *prefilling]
        logits = self._run(decoding, prefilling)
        for work in works:
            self._cache.note_length(work.sequence.number, work.end)
        # Logits in the works' own order.
        indexes = [p.index for p in ordered if p.work.completes]
        order = sorted(range(len(indexes)), key=indexes.__getitem__)
        return logits if order == list(range(len(order))) else logits[order]

    def _run(self, decoding: list[_Placed], prefilling: list[_Placed]) -> torch.Tensor:
        if self._compiled is None:
            return self._run_decoder(decoding, prefilling)
        if sum(p.work.end - p.work.begin for p in prefilling) < _MANY_TOKENS:
            return self._run_compiled(self._compiled, [*decoding, *prefilling])
        if not decoding:
            return self._run_decoder([], prefilling)
        both = self._run_compiled(self._compiled, decoding), self._run_decoder([], prefilling)
        return torch.cat([logits.float() for logits in both])

    def shut_down(self) -> None:
        """As `Runner.shut_down`."""
        if self._compiled is not None:
            self._compiled.close()

    @staticmethod
    def _run_compiled(compiled: CompiledDecoder, ordered: list[_Placed]) -> torch.Tensor:
        tokens: list[int] = []
        rows: list[CachedRow] = []
        for p in ordered:
            addresses, head_bytes = p.lane.addresses(p.row), p.lane.head_bytes
            p.lane.written(p.row, p.work.end)
            tokens += p.work.sequence.tokens[p.work.begin : p.work.end]
            rows += [CachedRow(addresses, head_bytes, position) for position in range(p.work.begin, p.work.end)]
        wanted = _last_of_completed(ordered)
        parts = []
        for begin in range(0, len(tokens), MOST_ROWS):
            end = begin + MOST_ROWS
            inner = [row - begin for row in wanted if begin <= row < end]
            logits = compiled.forward(tokens[begin:end], rows[begin:end], inner)
            # What the next call would overwrite is copied.
            parts.append(logits if len(tokens) <= MOST_ROWS else logits.clone())
        return parts[0] if len(parts) == 1 else torch.cat(parts)

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


def _keys(request: EngineRequest) -> tuple[Key, Key]:
    return ("conversation", request.cache_key), ("system", request.system_key)


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
