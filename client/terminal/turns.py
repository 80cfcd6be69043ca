"""Replies at the terminal: shown as they arrive, tried again where the conversation is busy or the connection lost.

Whatever is tried again goes by the same `request_id`, so that nothing is said twice: the backend replays what it has
stored of the turn, or takes it up where it has nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from client.errors import ConversationBusy, NotConnected, Unavailable
from client.terminal.keyboard import silent_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.chat_client import ChatClient
    from client.reply import Reply
    from client.terminal.connection_watch import ConnectionWatch
    from client.terminal.messages import Words
    from client.terminal.screen import Screen

_BUSY_SECONDS = 3.0
"""How long a reply that was just stopped may take to be stored."""
_PATIENCE_AFTER_LOSS_SECONDS = 60.0
"""How long a backend that went down may hold the conversation of its turn, and take to load its model."""
_WAIT_SECONDS = 0.5
_LEAST_WAIT_SECONDS = 0.5
_MOST_WAIT_SECONDS = 5.0


class Turns:
    """Takes one turn at a time."""

    def __init__(self, client: ChatClient, screen: Screen, connection: ConnectionWatch) -> None:
        self._client = client
        self._screen = screen
        self._connection = connection
        self._under_way: Reply | None = None

    def stop(self) -> bool:
        """Stops the reply that is under way; tells whether there is one."""
        if self._under_way is None:
            return False
        self._under_way.cancel()
        return True

    async def take(self, open_reply: Callable[[], Reply], seen: Callable[[Reply], None], words: Words) -> Reply:
        """Shows a reply to its end, or until it is stopped.

        Args:
            open_reply: Makes the call; each time with the same `request_id`.
            seen: Is told of each call that has ended, however it did.
            words: What is said meanwhile.

        Raises:
            ChatbotError: The backend refused the turn, or could not finish it.
        """
        shown = ""
        patience, pause = _BUSY_SECONDS, _LEAST_WAIT_SECONDS
        lost = told = False
        while True:
            reply = open_reply()
            try:
                failure = await self._show(reply, shown)
            finally:
                seen(reply)
            if failure is None or reply.cancelled:
                return reply
            if isinstance(failure, NotConnected):
                self._screen.error(words("lost", address=self._client.address))
                self._connection.lost = True
                await asyncio.sleep(pause)
                await self._client.until_connected()
                self._connection.lost = False
                self._screen.note(words("connected_again"))
                shown = reply.text or shown
                patience, pause = _PATIENCE_AFTER_LOSS_SECONDS, min(pause * 2, _MOST_WAIT_SECONDS)
                lost, told = True, False
                continue
            # Nothing was done yet for this turn. What has just come up again may lack a part for a while.
            if patience <= 0 or not (lost or isinstance(failure, ConversationBusy)):
                raise failure
            if lost and not told:
                self._screen.note(words("not_ready"))
                told = True
            wait = min(failure.retry_after or _WAIT_SECONDS, _WAIT_SECONDS)
            patience -= wait
            await asyncio.sleep(wait)

    async def _show(self, reply: Reply, shown: str) -> ConversationBusy | Unavailable | None:
        """Shows one call's answer; returns why it is worth another call, None where it is not."""
        self._under_way = reply
        try:
            with silent_keys():
                await self._screen.reply(reply, shown=shown)
        except (ConversationBusy, Unavailable) as failure:
            return failure
        finally:
            self._under_way = None
        return None
