"""Replies that are generated at once for one request, as one stream.

Each runs in a task of its own. Whoever reads may be cancelled again and again while it cleans up (which is how anyio
cancels); what a reply has still to do when it ends early, storing itself above all, is not its reader's to cut short.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from services.gateway.openai_api.reply import ReplyEvent, Started

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

_AHEAD = 8
"""Most events that wait for a reader; behind them the services merge what is generated meanwhile."""

_Item: TypeAlias = tuple[int, ReplyEvent | Exception | None]
"""Where a reply is in the request, and what has come of it; None: nothing will any more."""


class ReplyTasks:
    """The tasks of all replies of one server."""

    def __init__(self) -> None:
        # Kept here: the event loop does not.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, streams: Sequence[AsyncGenerator[ReplyEvent, None]]) -> Replies:
        """Starts the replies to one request."""
        replies = Replies(streams)
        for task in replies.tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return replies

    async def finish(self) -> None:
        """Waits until all replies, each of which has ended or been closed, have done what they still had to."""
        while self._tasks:
            await asyncio.wait(self._tasks)


class Replies:
    """One or more replies under way. To be closed."""

    def __init__(self, streams: Sequence[AsyncGenerator[ReplyEvent, None]]) -> None:
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(_AHEAD)
        self._early: list[_Item] = []
        self._count = len(streams)
        self.tasks = [asyncio.create_task(self._run(place, stream)) for place, stream in enumerate(streams)]

    async def begin(self, patience: float) -> None:
        """Waits until the model has taken up all of them, at most `patience` seconds.

        Raises:
            ChatbotError: One of them cannot be had.
        """
        begun = 0
        try:
            async with asyncio.timeout(patience):
                while begun < self._count:
                    place, event = await self._queue.get()
                    if isinstance(event, Exception):
                        raise event
                    self._early.append((place, event))
                    # What ends without having begun does not keep the others waiting.
                    begun += event is None or isinstance(event, Started)
        except TimeoutError:
            # They wait for their turn; what goes wrong from here on is told in the stream.
            return

    async def events(self) -> AsyncIterator[tuple[int, ReplyEvent]]:
        """Yields the events of all, each with the place of its reply.

        Raises:
            ChatbotError: One of them broke off.
        """
        left = self._count
        while left:
            place, event = self._early.pop(0) if self._early else await self._queue.get()
            if isinstance(event, Exception):
                raise event
            if event is None:
                left -= 1
            else:
                yield place, event

    def close(self) -> None:
        """Stops those that have not ended."""
        for task in self.tasks:
            task.cancel()

    async def _run(self, place: int, stream: AsyncGenerator[ReplyEvent, None]) -> None:
        try:
            async with aclosing(stream):
                async for event in stream:
                    await self._queue.put((place, event))
            await self._queue.put((place, None))
        except Exception as failure:  # whatever it is: it is the reader's
            await self._queue.put((place, failure))
