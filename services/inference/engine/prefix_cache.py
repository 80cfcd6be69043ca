"""Keeps the keys and values of ended replies, so that a conversation's next turn need not compute its prompt again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


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


class PrefixCache(Generic[Kept]):
    """Keys and values by their cache key, the latest of each, the least recently used dropped first.

    Args:
        capacity: Most tokens to keep, over all keys; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, _Entry[Kept]] = OrderedDict()
        self._size = 0

    def takes(self, key: str, length: int) -> bool:
        """Whether `keep` would keep so many tokens."""
        return bool(key) and 0 < length <= self._capacity

    def find(self, key: str, prompt: tuple[int, ...]) -> Prefix[Kept] | None:
        """Returns what shares a prefix with a prompt.

        At least the prompt's last token is left to compute: the reply's first token comes from it.
        """
        kept = self._kept.get(key)
        if kept is None:
            return None
        length = _common_prefix(kept.tokens, prompt[:-1])
        if length == 0:
            return None
        self._kept.move_to_end(key)
        return Prefix(kept.cache, length, len(kept.tokens))

    def take(self, key: str, prompt: tuple[int, ...]) -> Prefix[Kept] | None:
        """As `find`, and forgets it: for whoever goes on writing to it."""
        prefix = self.find(key, prompt)
        if prefix is not None:
            self._drop(key)
        return prefix

    def keep(self, key: str, tokens: tuple[int, ...], cache: Kept) -> None:
        """Keeps what holds exactly `tokens`, where there is room for it."""
        if not self.takes(key, len(tokens)):
            return
        self._drop(key)
        self._kept[key] = _Entry(tokens, cache)
        self._size += len(tokens)
        while self._size > self._capacity:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= len(kept.tokens)


def _common_prefix(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
