"""What was used last is kept, as far as there is room."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")


class RecentlyUsed(Generic[K, V]):
    """Values by key, the least recently used dropped first. For one thread.

    Args:
        room: Most that all of them may weigh together.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._left = room
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """Returns a value, which is now the one used last; None where it is not there."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def found(self, key: K, make: Callable[[], V]) -> V:
        """Returns a value of weight 1, made where it is not there."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keeps a value, unless it alone weighs more than there is room for."""
        if weight > self._room:
            return
        replaced = self._kept.pop(key, None)
        self._left += (0 if replaced is None else replaced[1]) - weight
        self._kept[key] = value, weight
        while self._left < 0:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._left += dropped
