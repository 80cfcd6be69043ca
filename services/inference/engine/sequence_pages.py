"""Whose pages are whose, from when a sequence begins until its prefix is forgotten.

A sequence is given the pages for all it may come to need when it begins, so none ever has to be stopped for want of
memory: one that finds too few waits. What it begins alike with another's it shares, page by page; of the page in which
they part it has a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.inference.engine.kv_pages import PAGE_TOKENS, KVPages, pages_for
from services.inference.engine.prefix_cache import Prefix, PrefixCache, keys_of, shared_with

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.inference.engine.kv_lane import KVShape
    from services.inference.engine.prefix_cache import Key
    from services.inference.engine.protocol import EngineRequest
    from services.inference.engine.sequence import Sequence

    Pages = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Running:
    sequence: Sequence
    pages: Pages


class SequencePages:
    """The running sequences' keys and values, and those of ended ones that others may begin with.

    Args:
        shape: Of one token's keys and values.
        context_tokens: Longest sequence.
        kv_cache_tokens: Most tokens of running sequences that there is memory for.
        prefix_cache_tokens: Most tokens that ended ones may take room for.
    """

    def __init__(self, shape: KVShape, *, context_tokens: int, kv_cache_tokens: int, prefix_cache_tokens: int) -> None:
        self._context = context_tokens
        self._most = pages_for(kv_cache_tokens)
        # Every holder of a page counts it as its own, so whoever is within its limit finds as many free.
        self.memory = KVPages(shape, self._most + prefix_cache_tokens // PAGE_TOKENS)
        self._running: dict[int, _Running] = {}
        self._prefixes: PrefixCache[Pages] = PrefixCache(prefix_cache_tokens, on_drop=self._drop)

    @property
    def sequences(self) -> int:
        """Running sequences that have memory."""
        return len(self._running)

    @property
    def reserved(self) -> int:
        """Tokens that running sequences have room for."""
        return PAGE_TOKENS * sum(len(running.pages) for running in self._running.values())

    @property
    def kept(self) -> int:
        """Tokens that ended ones take room for."""
        return self._prefixes.used

    def holds(self, sequence: Sequence) -> bool:
        """Whether a sequence has memory."""
        return sequence.number in self._running

    def open(self, sequence: Sequence) -> int | None:
        """As `Runner.open`."""
        request = sequence.request
        needed = pages_for(min(len(request.prompt) + request.sampling.max_tokens, self._context))
        if needed > self._most - self.reserved // PAGE_TOKENS:
            return None
        kept = (self._prefixes.find(key, request.prompt) for key in keys_of(request))
        found = [*(prefix for prefix in kept if prefix is not None), *self._running_with(request)]
        best = max(found, key=lambda prefix: prefix.length, default=None)
        length = 0 if best is None else best.length
        shared = [] if best is None else best.cache[: length // PAGE_TOKENS].tolist()
        self.memory.hold(shared)
        own = self.memory.take(needed - len(shared))
        if best is not None and length % PAGE_TOKENS:
            self.memory.copy(int(best.cache[len(shared)]), own[0])
        self._running[sequence.number] = _Running(sequence, np.array([*shared, *own], dtype=np.int64))
        return length

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        running = self._running.pop(sequence.number, None)
        if running is None:
            return
        conversation, system = keys_of(sequence.request)
        self._keep(conversation, running, sequence.computed)
        self._keep(system, running, min(sequence.request.system_tokens, sequence.computed))
        self._drop(running.pages)

    def pages(self, sequence: Sequence) -> Pages:
        """Returns a running sequence's pages, in the order of its tokens. Not to be changed."""
        return self._running[sequence.number].pages

    def _keep(self, key: Key, running: _Running, length: int) -> None:
        tokens = tuple(running.sequence.tokens[:length])
        pages = running.pages[: pages_for(length)]
        room = len(pages) * PAGE_TOKENS
        if self._prefixes.takes(key, room) and not self._prefixes.holds(key, tokens):
            self.memory.hold(pages.tolist())
            self._prefixes.keep(key, tokens, pages, room=room)

    def _drop(self, pages: Pages) -> None:
        self.memory.drop(pages.tolist())

    def _running_with(self, request: EngineRequest) -> list[Prefix[Pages]]:
        """Returns what running sequences have computed of a prompt, of those that may share with it."""
        found = []
        for running in self._running.values():
            length, most = shared_with(running.sequence, request)
            if length:
                found.append(Prefix(running.pages, length, most))
        return found
