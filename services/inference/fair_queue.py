"""Who is next where several callers wait: they take turns, and each caller's own come in order.

Of those whose turn it can be, a caller that holds few places goes before one that holds many. While a caller waits,
no other is served twice, so it waits for as many as there are other callers and no longer, however much each of them
asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class _Caller(Generic[Item]):
    """What is known of a caller. Times are counted in events of the queue."""

    waiting: dict[Item, None] = field(default_factory=dict)
    """Oldest first; a dict, so that any of them can leave at once."""
    since: int = 0
    """When it began to wait for its next turn."""
    served: int = 0
    """When it last had one."""
    held: int = 0
    """Its places: items taken and not released yet."""


class FairQueue(Generic[Item]):
    """Items that wait, by their caller, and how many each caller holds already. For one thread.

    Items are told apart by their hash; one item waits once.
    """

    def __init__(self) -> None:
        self._callers: dict[str, _Caller[Item]] = {}
        self._waiting = 0
        self._now = 0

    def __len__(self) -> int:
        """Items that wait."""
        return self._waiting

    @property
    def waiting_callers(self) -> int:
        """Callers of which something waits."""
        return sum(1 for caller in self._callers.values() if caller.waiting)

    def waiting_of(self, name: str) -> int:
        """Returns how many items of a caller wait."""
        caller = self._callers.get(name)
        return len(caller.waiting) if caller else 0

    def items(self) -> list[Item]:
        """Returns all that wait, in no order in particular."""
        return [item for caller in self._callers.values() for item in caller.waiting]

    def add(self, name: str, item: Item) -> None:
        """Puts an item behind those of its caller that wait already."""
        caller = self._callers.setdefault(name, _Caller())
        if not caller.waiting:
            caller.since = self._tick()
        caller.waiting[item] = None
        self._waiting += 1

    def remove(self, name: str, item: Item) -> bool:
        """Takes out an item that gave up waiting; False where it does not wait."""
        caller = self._callers.get(name)
        if caller is None or item not in caller.waiting:
            return False
        del caller.waiting[item]
        self._waiting -= 1
        self._forget()
        return True

    def first(self) -> Item | None:
        """Returns the item that is next; None where none waits. The same until one is added, removed or taken."""
        caller = self._next()
        return None if caller is None else next(iter(caller.waiting))

    def take(self) -> Item:
        """Gives the next item a place.

        Raises:
            IndexError: None waits.
        """
        caller = self._next()
        if caller is None:
            raise IndexError("nothing waits")
        item = next(iter(caller.waiting))
        del caller.waiting[item]
        self._waiting -= 1
        caller.held += 1
        caller.served = caller.since = self._tick()
        self._forget()
        return item

    def release(self, name: str) -> None:
        """Takes a place back from a caller that holds one."""
        self._callers[name].held -= 1
        self._forget()

    def _next(self) -> _Caller[Item] | None:
        oldest = self._oldest()
        if oldest is None:
            return None
        # The one that waits longest is always among them.
        may = (c for c in self._callers.values() if c.waiting and c.served <= oldest)
        return min(may, key=lambda c: (c.held, c.since))

    def _oldest(self) -> int | None:
        return min((c.since for c in self._callers.values() if c.waiting), default=None)

    def _forget(self) -> None:
        """Drops callers of which nothing matters any more; a turn does, while somebody waits since before it."""
        oldest = self._oldest()
        for name, caller in list(self._callers.items()):
            if not caller.waiting and not caller.held and (oldest is None or caller.served <= oldest):
                del self._callers[name]

    def _tick(self) -> int:
        self._now += 1
        return self._now
