"""Notices while the prompt waits that the connection is lost, and that it is there again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from client.chat_client import ChatClient


class ConnectionWatch:
    """Watches a client's connection.

    Args:
        client: Whose.
        tell: Shows the text of a key, above what is being typed.
    """

    def __init__(self, client: ChatClient, tell: Callable[[str], Awaitable[None]]) -> None:
        self.lost = False
        """Whether the person has been told that it is, and not yet that it is there again."""
        self._client = client
        self._tell = tell

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watches for as long as the context lasts."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _watch(self) -> None:
        while True:
            if not self.lost:
                await self._client.until_lost()
                self.lost = True
                await self._tell("gone")
            await self._client.until_connected()
            self.lost = False
            await self._tell("connected_again")
