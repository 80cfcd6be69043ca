"""Hands the events of one reply from the engine's thread to the event loop.

Bounded by merging: whatever the reader has not taken yet lies in at most one `Delta`, so a slow reader gets fewer
and larger ones, and costs no more memory than its text.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from services.inference.engine.protocol import Delta, Event, Finished, Started, TokenLogprob


class Post:
    """Puts events into mailboxes, and wakes their readers together: once a loop, not once a reader.

    Each wake takes the interpreter from the writing thread. For one thread.
    """

    def __init__(self) -> None:
        self._due: list[Mailbox] = []

    def put(self, mailbox: Mailbox, event: Event) -> None:
        """Adds an event, whose reader is woken by `deliver` at the latest. Never blocks."""
        mailbox.add(event)
        self._due.append(mailbox)

    def deliver(self) -> None:
        """Wakes the readers of all that was put since the last time."""
        due, self._due = self._due, []
        by_loop: dict[asyncio.AbstractEventLoop, list[Mailbox]] = {}
        for mailbox in due:
            by_loop.setdefault(mailbox.loop, []).append(mailbox)
        for loop, mailboxes in by_loop.items():
            _wake(loop, mailboxes)


class Mailbox:
    """One writer on any thread, one reader on the loop it was made on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        """Where its reader is."""
        self._arrived = asyncio.Event()
        self._lock = threading.Lock()
        self._started: Started | None = None
        self._texts: list[str] = []
        self._token_count = 0
        self._logprobs: list[TokenLogprob] = []
        self._finished: Finished | None = None
        self._failure: Exception | None = None

    def add(self, event: Event) -> None:
        """Adds an event, without waking the reader. Never blocks."""
        with self._lock:
            if isinstance(event, Started):
                self._started = event
            elif isinstance(event, Delta):
                self._texts.append(event.text)
                self._token_count += event.token_count
                self._logprobs.extend(event.logprobs)
            else:
                self._finished = event

    def fail(self, failure: Exception) -> None:
        """Tells the reader that no more will come, and why."""
        with self._lock:
            self._failure = failure
        _wake(self.loop, [self])

    async def get(self) -> Event:
        """Returns the next event, waiting for it.

        Raises:
            Exception: There is none, and `fail` was told why.
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
            if self._failure is not None:
                raise self._failure
            return None

    def wake(self) -> None:
        """Has the reader look. On the reader's loop only."""
        self._arrived.set()


def _wake(loop: asyncio.AbstractEventLoop, mailboxes: list[Mailbox]) -> None:
    def wake_all() -> None:
        for mailbox in mailboxes:
            mailbox.wake()

    # A loop that is closed has no reader left.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(wake_all)
