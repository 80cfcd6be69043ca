"""A lock that many may hold who leave things as they are, or one who changes them."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Holds it together with others."""
        await self._take(alone=False)
        try:
            yield
        finally:
            self._sharing -= 1
            self._pass_on()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Holds it alone."""
        await self._take(alone=True)
        try:
            yield
        finally:
            self._alone = False
            self._pass_on()

    async def _take(self, *, alone: bool) -> None:
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
            elif alone:  # given just before
                self._alone = False
            else:
                self._sharing -= 1
            self._pass_on()
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
