"""Keys and values that the slim decoder works on, from when a sequence begins until its prefix is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.inference.engine.kv_cache import KVCache
from services.inference.engine.prefix_cache import PrefixCache, keys_of

if TYPE_CHECKING:
    import torch

    from services.inference.engine.kv_lane import KVShape, Lane
    from services.inference.engine.prefix_cache import Key
    from services.inference.engine.sequence import Sequence


class SequenceCache:
    """The running sequences' keys and values, and those of ended ones that others may begin with.

    Args:
        shape: Of one token's keys and values.
        max_running: Most sequences at the same time.
        context_tokens: Longest sequence.
        kv_cache_tokens: Most tokens of running sequences that there is memory for.
        prefix_cache_tokens: Most tokens of ended ones whose keys and values are kept.
    """

    def __init__(
        self,
        shape: KVShape,
        *,
        max_running: int,
        context_tokens: int,
        kv_cache_tokens: int,
        prefix_cache_tokens: int,
    ) -> None:
        self._context = context_tokens
        self._running = KVCache(
            shape, capacity=kv_cache_tokens, most_sequences=max_running, context_tokens=context_tokens
        )
        self._prefixes: PrefixCache[list[torch.Tensor]] = PrefixCache(prefix_cache_tokens)

    @property
    def sequences(self) -> int:
        """As `SequenceBuffers.sequences`."""
        return self._running.sequences

    @property
    def reserved(self) -> int:
        """As `SequenceBuffers.reserved`, rows that wait for a sequence counted."""
        return self._running.reserved

    @property
    def kept(self) -> int:
        """As `SequenceBuffers.kept`."""
        return self._prefixes.used

    def holds(self, sequence: Sequence) -> bool:
        """As `SequenceBuffers.holds`."""
        return self._running.holds(sequence.number)

    def open(self, sequence: Sequence) -> int | None:
        """As `Runner.open`."""
        request = sequence.request
        most = min(len(request.prompt) + request.sampling.max_tokens, self._context)
        if not self._running.reserve(sequence.number, most):
            return None
        found = [self._prefixes.find(key, request.prompt) for key in keys_of(request)]
        prefix = max((p for p in found if p is not None), key=lambda p: p.length, default=None)
        if prefix is None:
            return 0
        self._running.copy_in(sequence.number, prefix.cache, prefix.length)
        return prefix.length

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        if self.holds(sequence):
            conversation, system = keys_of(sequence.request)
            self._keep(conversation, sequence, sequence.computed)
            self._keep(system, sequence, min(sequence.request.system_tokens, sequence.computed))
        self._running.release(sequence.number)

    def place(self, sequence: Sequence) -> tuple[Lane, int]:
        """Returns the lane and the row of a sequence, as they are until the next is closed."""
        return self._running.place(sequence.number)

    def note_length(self, sequence: Sequence, length: int) -> None:
        """Notes how many tokens of a sequence have been computed."""
        self._running.note_length(sequence.number, length)

    def _keep(self, key: Key, sequence: Sequence, length: int) -> None:
        tokens = tuple(sequence.tokens[:length])
        if self._prefixes.takes(key, length) and not self._prefixes.holds(key, tokens):
            self._prefixes.keep(key, tokens, self._running.copy_out(sequence.number, length), room=length)
