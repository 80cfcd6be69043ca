"""Keys and values that the compiled step works on, from when a sequence begins until its prefix is forgotten.

A sequence is given the room for all it may come to need when it begins, so none ever has to be stopped for want of
memory: one that finds no room waits. When it ends its memory is kept as it is, and the conversation's next turn writes
on in it: nothing is copied, however long the conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.engine.kv_buffer import KVBuffer, addresses_are_free
from services.inference.engine.prefix_cache import Prefix, PrefixCache, keys_of, shared_with

if TYPE_CHECKING:
    from services.inference.engine.kv_buffer import BufferShape
    from services.inference.engine.protocol import EngineRequest
    from services.inference.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class _Running:
    sequence: Sequence
    buffer: KVBuffer
    needed: int
    """Tokens that it may come to."""
    room: int
    """Tokens that it may come to take up memory for."""


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
        self._addresses_are_free = addresses_are_free()
        self._running: dict[int, _Running] = {}
        self._prefixes: PrefixCache[KVBuffer] = PrefixCache(prefix_cache_tokens)

    @property
    def sequences(self) -> int:
        """Running sequences that have memory."""
        return len(self._running)

    @property
    def reserved(self) -> int:
        """Tokens that running sequences have room for."""
        return sum(running.room for running in self._running.values())

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
        room, left = self._room(needed), self._most - self.reserved
        if room > left:
            return None
        conversation, system = keys_of(request)
        own = self._prefixes.find(conversation, request.prompt)
        others = [*self._running_with(request), self._prefixes.find(system, request.prompt)]
        other = max((o for o in others if o is not None), key=lambda prefix: prefix.length, default=None)
        if own is not None and (other is None or own.length >= other.length):
            length, taken = own.length, max(room, min(own.cache.room, self._context))
            # Not where another prompt merely begins alike: what it wrote over would have to be computed again.
            if needed <= own.cache.capacity and taken <= left and own.size - own.length <= own.length:
                self._prefixes.take(conversation, request.prompt)
                buffer, room = own.cache, taken
            else:
                buffer = self._copied(own.cache, length, needed)
        elif other is not None:
            buffer, length = self._copied(other.cache, other.length, needed), other.length
        else:
            buffer, length = self._new(needed), 0
        self._running[sequence.number] = _Running(sequence, buffer, needed, room)
        return length

    def close(self, sequence: Sequence) -> None:
        """As `Runner.close`."""
        running = self._running.pop(sequence.number, None)
        if running is None:
            return
        buffer, computed = running.buffer, sequence.computed
        buffer.written = max(buffer.written, computed)
        conversation, system = keys_of(sequence.request)
        of_system = tuple(sequence.tokens[: min(sequence.request.system_tokens, computed)])
        room = self._room(len(of_system))
        if self._prefixes.takes(system, room) and not self._prefixes.holds(system, of_system):
            copied = self._copied(buffer, len(of_system), len(of_system))
            self._prefixes.keep(system, of_system, copied, room=room)
        room, least = min(buffer.room, self._context), self._room(computed)
        if not self._prefixes.takes(conversation, least):
            return
        # What was mostly written for something else would take the place of other conversations.
        if room > 2 * least + self._shape.room(1) or not self._prefixes.takes(conversation, room):
            buffer, room = self._copied(buffer, computed, computed), least
        self._prefixes.keep(conversation, tuple(sequence.tokens[:computed]), buffer, room=room)

    def buffer(self, sequence: Sequence) -> KVBuffer:
        """Returns where a running sequence's keys and values are."""
        return self._running[sequence.number].buffer

    def look_ahead(self, sequence: Sequence, begin: int, end: int) -> None:
        """Takes up memory ahead of a running sequence's tokens that are written next: see `KVBuffer.look_ahead`."""
        running = self._running[sequence.number]
        running.buffer.look_ahead(begin, end, running.needed)

    def _running_with(self, request: EngineRequest) -> list[Prefix[KVBuffer]]:
        """Returns what running sequences have computed of a prompt, of those that may share with it."""
        found = []
        for running in self._running.values():
            length, most = shared_with(running.sequence, request)
            if length:
                found.append(Prefix(running.buffer, length, most))
        return found

    def _room(self, tokens: int) -> int:
        return min(self._shape.room(tokens), self._context)

    def _new(self, tokens: int) -> KVBuffer:
        """Returns memory for so many tokens, with addresses for all it may come to if they are free."""
        reach = self._context if self._addresses_are_free else min(2 * tokens, self._context)
        try:
            return KVBuffer(self._shape, reach)
        except MemoryError:
            return KVBuffer(self._shape, tokens)

    def _copied(self, buffer: KVBuffer, length: int, tokens: int) -> KVBuffer:
        """Returns another, for so many tokens, that begins with the first ones of this."""
        copied = self._new(tokens)
        copied.begin_with(buffer, length)
        return copied
