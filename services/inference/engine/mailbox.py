"""Hands the events of one reply from the engine's thread to the event loop.

Bounded by merging: whatever the reader has not taken yet lies in at most one `Delta`, so a slow reader gets fewer
and larger ones, and costs no more memory than its text.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from services.inference.engine.protocol import Delta, EngineDied, Event, Finished, Started, TokenLogprob


class Mailbox:
    """One writer on any thread, one reader on the loop it was made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._lock = threading.Lock()
        self._started: Started | None = None
        self._texts: list[str] = []
        self._token_count = 0
        self._logprobs: list[TokenLogprob] = []
        self._finished: Finished | None = None
        self._lost = False

    def put(self, event: Event) -> None:
        """Adds an event. Never blocks."""
        with self._lock:
            if isinstance(event, Started):
                self._started = event
            elif isinstance(event, Delta):
                self._texts.append(event.text)
                self._token_count += event.token_count
                self._logprobs.extend(event.logprobs)
            else:
                self._finished = event
        self._wake()

    def lose(self) -> None:
        """Tells the reader that no more will come because the engine has died."""
        with self._lock:
            self._lost = True
        self._wake()

    async def get(self) -> Event:
        """Returns the next event, waiting for it.

        Raises:
            EngineDied: There is none and the engine has died.
        """
        while True:
            self._arrived.clear()
            event = self._take()
            if event is not None:
                return event
            await self._arrived.wait()

    def _take(self) -> Event | None:
        with self._lock:
            if self._started is not None:
                started, self._started = self._started, None
                return started
            if self._texts:
                delta = Delta("".join(self._texts), self._token_count, tuple(self._logprobs))
                self._texts, self._token_count, self._logprobs = [], 0, []
                return delta
            if self._finished is not None:
                return self._finished
            if self._lost:
                raise EngineDied
            return None

    def _wake(self) -> None:
        # A loop that is closed has no reader left.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.set)
