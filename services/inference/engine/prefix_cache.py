"""Keeps the keys and values of ended replies, so that a conversation's next turn need not compute its prompt again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.inference.engine.protocol import EngineRequest
    from services.inference.engine.sequence import Sequence as RunningSequence

Kept = TypeVar("Kept")
Key = tuple[Literal["conversation", "system"], str]
"""What is separated from what: by kind, and by the key of a request. Nothing is kept for an empty key."""


@dataclass(frozen=True, slots=True)
class Prefix(Generic[Kept]):
    """Keys and values of `size` tokens, the first `length` of which are those of a prompt."""

    cache: Kept
    length: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Kept]):
    tokens: tuple[int, ...]
    cache: Kept
    room: int


class PrefixCache(Generic[Kept]):
    """Keys and values by their cache key, the latest of each, the least recently used dropped first.

    Args:
        capacity: Most tokens that there is room for, over all keys; 0 keeps none.
        on_drop: Told of what is forgotten; not of what `take` hands over.
    """

    def __init__(self, capacity: int, on_drop: Callable[[Kept], None] | None = None) -> None:
        self._capacity = capacity
        self._on_drop = on_drop
        self._kept: OrderedDict[Key, _Entry[Kept]] = OrderedDict()
        self.used = 0
        """Tokens that what is kept takes room for."""

    def takes(self, key: Key, length: int) -> bool:
        """Whether `keep` would keep what has room for so many tokens."""
        return bool(key[1]) and 0 < length <= self._capacity

    def find(self, key: Key, prompt: tuple[int, ...]) -> Prefix[Kept] | None:
        """Returns what shares a prefix with a prompt.

        At least the prompt's last token is left to compute: the reply's first token comes from it.
        """
        kept = self._kept.get(key)
        if kept is None:
            return None
        length = common_prefix(kept.tokens, prompt[:-1])
        if length == 0:
            return None
        self._kept.move_to_end(key)
        return Prefix(kept.cache, length, len(kept.tokens))

    def holds(self, key: Key, tokens: tuple[int, ...]) -> bool:
        """Whether exactly `tokens` are kept for a key, which counts as a use of them."""
        kept = self._kept.get(key)
        if kept is None or kept.tokens != tokens:
            return False
        self._kept.move_to_end(key)
        return True

    def take(self, key: Key, prompt: tuple[int, ...]) -> Prefix[Kept] | None:
        """As `find`, and forgets it: for whoever goes on writing to it."""
        prefix = self.find(key, prompt)
        if prefix is not None:
            self._pop(key)
        return prefix

    def keep(self, key: Key, tokens: tuple[int, ...], cache: Kept, room: int) -> None:
        """Keeps what holds exactly `tokens` and has room for so many, where that fits."""
        if not self.takes(key, room):
            return
        self._drop(key)
        self._kept[key] = _Entry(tokens, cache, room)
        self.used += room
        while self.used > self._capacity:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        kept = self._pop(key)
        if kept is not None and self._on_drop is not None:
            self._on_drop(kept.cache)

    def _pop(self, key: Key) -> _Entry[Kept] | None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.used -= kept.room
        return kept


def keys_of(request: EngineRequest) -> tuple[Key, Key]:
    """Returns the keys that a request's conversation and its system message are kept under."""
    return ("conversation", request.cache_key), ("system", request.system_key)


def shared_with(running: RunningSequence, request: EngineRequest) -> tuple[int, int]:
    """Returns how many tokens of a prompt a running sequence has computed, and of how many that it may lend."""
    conversation, system = keys_of(request)
    theirs = keys_of(running.request)
    if conversation[1] and theirs[0] == conversation:
        most = running.computed
    elif system[1] and theirs[1] == system:
        most = min(running.computed, running.request.system_tokens)
    else:
        return 0, 0
    return common_prefix(running.tokens[:most], request.prompt[:-1]), most


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Returns how many of their first tokens two prompts have in common."""
    most = min(len(one), len(other))
    # A conversation's next turn begins with all of the last: told at once, however long it is.
    if tuple(one[:most]) == tuple(other[:most]):
        return most
    return next(n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
