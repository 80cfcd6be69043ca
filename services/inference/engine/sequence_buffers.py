"""Keys and values that the compiled step works on, from when a sequence begins until its prefix is forgotten.

A sequence is given the room for all it may come to need when it begins, so none ever has to be stopped for want of
memory: one that finds no room waits. When it ends its memory is kept as it is, and the conversation's next turn writes
on in it: nothing is copied, however long the conversation, until it outgrows its room, which doubles then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.engine.kv_buffer import KVBuffer
from services.inference.engine.prefix_cache import Prefix, PrefixCache, keys_of, shared_with

if TYPE_CHECKING:
    from services.inference.engine.kv_buffer import BufferShape
    from services.inference.engine.protocol import EngineRequest
    from services.inference.engine.sequence import Sequence

_LEAST_ROOM = 256
"""Tokens."""


@dataclass(frozen=True, slots=True)
class _Running:
    sequence: Sequence
    buffer: KVBuffer


class SequenceBuffers:
    """The running sequences' keys and values, and those of ended ones that others may begin with.

    Args:
        shape: Of keys and values.
        context_tokens: Longest sequence.
        kv_cache_tokens: Most tokens of running sequences that there is memory for.
        prefix_cache_tokens: Most tokens that ended ones may take room for.
    """

    def __init__(
        self, shape: BufferShape, *, context_tokens: int, kv_cache_tokens: int, prefix_cache_tokens: int
    ) -> None:
        self._shape = shape
        self._context = context_tokens
        self._most = kv_cache_tokens
        self._running: dict[int, _Running] = {}
        self._prefixes: PrefixCache[KVBuffer] = PrefixCache(prefix_cache_tokens)

    @property
    def sequences(self) -> int:
        """Running sequences that have memory."""
        return len(self._running)

    @property
    def reserved(self) -> int:
        """Tokens that running sequences have room for."""
        return sum(running.buffer.capacity for running in self._running.values())

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
        needed = min(len(request.prompt) + request.sampling.max_tokens, self._context)
        room, left = self._room_for(needed), self._most - self.reserved
        if room > left:
            return None
        conversation, system = keys_of(request)
        own = self._prefixes.find(conversation, request.prompt)
        others = [*self._running_with(request), self._prefixes.find(system, request.prompt)]
        other = max((o for o in others if o is not None), key=lambda prefix: prefix.length, default=None)
        if own is not None and (other is None or own.length >= other.length):
            fits = needed <= own.cache.capacity <= left
            # Not where another prompt merely begins alike: what it wrote over would have to be computed again.
            if fits and own.size - own.length <= own.length:
                self._prefixes.take(conversation, request.prompt)
                buffer = own.cache
            else:
                buffer = own.cache.copy(own.length, room)
            length = own.length
        elif other is not None:
            buffer, length = other.cache.copy(other.length, room), other.length
        else:
            buffer, length = KVBuffer(self._shape, room), 0
        self._running[sequence.number] = _Running(sequence, buffer)
        return length

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        running = self._running.pop(sequence.number, None)
        if running is None:
            return
        buffer, computed = running.buffer, sequence.computed
        conversation, system = keys_of(sequence.request)
        of_system = tuple(sequence.tokens[: min(sequence.request.system_tokens, computed)])
        if self._prefixes.takes(system, len(of_system)) and not self._prefixes.holds(system, of_system):
            self._prefixes.keep(system, of_system, buffer.copy(len(of_system), len(of_system)), room=len(of_system))
        if not self._prefixes.takes(conversation, computed):
            return
        # What is mostly empty would take the place of other conversations.
        if buffer.capacity > 2 * computed or not self._prefixes.takes(conversation, buffer.capacity):
            buffer = buffer.copy(computed, computed)
        self._prefixes.keep(conversation, tuple(sequence.tokens[:computed]), buffer, room=buffer.capacity)

    def buffer(self, sequence: Sequence) -> KVBuffer:
        """Returns where a running sequence's keys and values are."""
        return self._running[sequence.number].buffer

    def _running_with(self, request: EngineRequest) -> list[Prefix[KVBuffer]]:
        """Returns what running sequences have computed of a prompt, of those that may share with it."""
        found = []
        for running in self._running.values():
            length, most = shared_with(running.sequence, request)
            if length:
                found.append(Prefix(running.buffer, length, most))
        return found

    def _room_for(self, tokens: int) -> int:
        """Returns how many tokens there is to be room for: twice as many each time a conversation outgrows it."""
        room = _LEAST_ROOM
        while room < tokens:
            room *= 2
        return min(room, self._context)
