"""Who is next where several callers wait: they take turns, and each caller's own come in order.

Of those whose turn it can be, a caller that holds few places goes before one that holds many. While a caller waits,
no other is served twice, so it waits for as many as there are other callers and no longer, however much each of them
asks for.
"""

from __future__ import annotations

import math
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
        # Of those, which have something that waits, and which have nothing here any more.
        self._lined_up: dict[str, _Caller[Item]] = {}
        self._idle: dict[str, _Caller[Item]] = {}
        self._waiting = 0
        self._now = 0

    def __len__(self) -> int:
        """Items that wait."""
        return self._waiting

    @property
    def waiting_callers(self) -> int:
        """Callers of which something waits."""
        return len(self._lined_up)

    def waiting_of(self, name: str) -> int:
        """Returns how many items of a caller wait."""
        caller = self._callers.get(name)
        return len(caller.waiting) if caller else 0

    def items(self) -> list[Item]:
        """Returns all that wait, in no order in particular."""
        return [item for caller in self._lined_up.values() for item in caller.waiting]

    def add(self, name: str, item: Item) -> None:
        """Puts an item behind those of its caller that wait already."""
        caller = self._callers.setdefault(name, _Caller())
        if not caller.waiting:
            caller.since = self._tick()
        caller.waiting[item] = None
        self._waiting += 1
        self._sort_in(name)

    def remove(self, name: str, item: Item) -> bool:
        """Takes out an item that gave up waiting; False where it does not wait."""
        caller = self._callers.get(name)
        if caller is None or item not in caller.waiting:
            return False
        del caller.waiting[item]
        self._waiting -= 1
        self._sort_in(name)
        return True

    def first(self) -> Item | None:
        """Returns the item that is next; None where none waits. The same until one is added, removed or taken."""
        name = self._next()
        return None if name is None else next(iter(self._callers[name].waiting))

    def take(self) -> Item:
        """Gives the next item a place.

        Raises:
            IndexError: None waits.
        """
        name = self._next()
        if name is None:
            raise IndexError("nothing waits")
        caller = self._callers[name]
        item = next(iter(caller.waiting))
        del caller.waiting[item]
        self._waiting -= 1
        caller.held += 1
        caller.served = caller.since = self._tick()
        self._sort_in(name)
        return item

    def release(self, name: str) -> None:
        """Takes a place back from a caller that holds one."""
        self._callers[name].held -= 1
        self._sort_in(name)

    def _next(self) -> str | None:
        # The one that waits longest is always among those that may.
        oldest = self._oldest()
        may = (name for name, caller in self._lined_up.items() if caller.served <= oldest)
        return min(may, key=lambda name: (self._lined_up[name].held, self._lined_up[name].since), default=None)

    def _oldest(self) -> float:
        return min((caller.since for caller in self._lined_up.values()), default=math.inf)

    def _sort_in(self, name: str) -> None:
        """Notes what a caller has here, and drops those whose last turn nobody waits since before."""
        caller = self._callers[name]
        for place, belongs in ((self._lined_up, caller.waiting), (self._idle, not caller.waiting and not caller.held)):
            if belongs:
                place[name] = caller
            else:
                place.pop(name, None)
        if self._idle:
            oldest = self._oldest()
            for gone in [name for name, idle in self._idle.items() if idle.served <= oldest]:
                del self._idle[gone], self._callers[gone]

    def _tick(self) -> int:
        self._now += 1
        return self._now
