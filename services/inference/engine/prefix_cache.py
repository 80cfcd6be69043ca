"""Keeps the KV caches of ended replies, so that a conversation's next turn need not compute its prompt again.

Only caches that can be cut back to any length are kept: those whose every layer attends to all tokens. A layer
with a sliding window has forgotten what lies before it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from transformers import DynamicCache


@dataclass(frozen=True, slots=True)
class Prefix:
    """A KV cache that holds the first `length` tokens of a prompt."""

    cache: DynamicCache
    length: int


@dataclass(frozen=True, slots=True)
class _Kept:
    tokens: tuple[int, ...]
    cache: DynamicCache


class PrefixCache:
    """KV caches by their key, the latest of each, the least recently used dropped first.

    Args:
        capacity: Most tokens to keep, over all keys; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    def take(self, key: str, prompt: tuple[int, ...]) -> Prefix | None:
        """Takes out the cache that shares a prefix with a prompt, cut back to that prefix.

        At least the prompt's last token is left to compute: the reply's first token comes from it.
        """
        kept = self._kept.get(key)
        if kept is None:
            return None
        length = _common_prefix(kept.tokens, prompt[:-1])
        if length == 0:
            return None
        self._drop(key)
        if length < len(kept.tokens):
            kept.cache.crop(length - len(kept.tokens))
        return Prefix(kept.cache, length)

    def keep(self, key: str, tokens: tuple[int, ...], cache: DynamicCache) -> None:
        """Keeps a cache that holds exactly `tokens`, where it can be cut back and there is room."""
        if not key or not 0 < len(tokens) <= self._capacity or not _croppable(cache):
            return
        self._drop(key)
        self._kept[key] = _Kept(tokens, cache)
        self._size += len(tokens)
        while self._size > self._capacity:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= len(kept.tokens)


def _croppable(cache: DynamicCache) -> bool:
    # Exactly this class: those derived from it forget or keep more than keys and values.
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _common_prefix(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
