"""A lock that many may hold who leave things as they are, or one who changes them."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager

from typing_extensions import override


class SharedLock:
    """Given in the order of asking, so that those who share it do not keep out for ever who wants it alone."""

    def __init__(self) -> None:
        self._sharing = 0
        self._alone = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()

    @property
    def held(self) -> bool:
        """Whether anybody holds it, or waits for it."""
        return self._alone or self._sharing > 0 or bool(self._waiting)

    def shared(self) -> AbstractAsyncContextManager[None]:
        """Holds it together with others."""
        return _Holding(self, alone=False)

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Holds it alone."""
        return _Holding(self, alone=True)

    def give_back(self, *, alone: bool) -> None:
        """Ends what `take` began."""
        if alone:
            self._alone = False
        else:
            self._sharing -= 1
        self._pass_on()

    async def take(self, *, alone: bool) -> None:
        """Waits for it, and holds it until `give_back`."""
        if not self._waiting and self._is_free(alone=alone):
            self._give(alone=alone)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, alone))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting = deque(one for one in self._waiting if one[0] is not turn)
                self._pass_on()
            else:  # given just before
                self.give_back(alone=alone)
            raise

    def _is_free(self, *, alone: bool) -> bool:
        return not self._alone and not (alone and self._sharing)

    def _give(self, *, alone: bool) -> None:
        if alone:
            self._alone = True
        else:
            self._sharing += 1

    def _pass_on(self) -> None:
        while self._waiting:
            turn, alone = self._waiting[0]
            if not turn.done():
                if not self._is_free(alone=alone):
                    return
                self._give(alone=alone)
                turn.set_result(None)
            self._waiting.popleft()


class _Holding(AbstractAsyncContextManager[None]):
    """One holder's: every search is one, and a generator as context manager takes twice as long."""

    __slots__ = ("_alone", "_lock")

    def __init__(self, lock: SharedLock, *, alone: bool) -> None:
        self._lock = lock
        self._alone = alone

    @override
    async def __aenter__(self) -> None:
        await self._lock.take(alone=self._alone)

    @override
    async def __aexit__(self, *_failure: object) -> None:
        self._lock.give_back(alone=self._alone)
