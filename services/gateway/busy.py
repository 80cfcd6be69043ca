"""One turn at a time in a conversation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.rpc.errors import ConversationBusy

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRY_AFTER_SECONDS = 1.0


def busy_error() -> ConversationBusy:
    """Returns what a second turn is told."""
    return ConversationBusy(
        "Another reply of this conversation is being generated; try again when it has ended.",
        retry_after=_RETRY_AFTER_SECONDS,
    )


class BusyConversations:
    """The conversations that have a turn under way in this process.

    Two gateways know nothing of each other's turns but this: the user's message is appended only if the
    conversation is still as this gateway has read it.
    """

    def __init__(self) -> None:
        self._claimed: set[tuple[str, str]] = set()

    @contextmanager
    def claim(self, user_id: str, conversation: str) -> Iterator[None]:
        """Holds a conversation for one turn.

        Raises:
            ConversationBusy: Another turn holds it.
        """
        key = (user_id, conversation)
        if key in self._claimed:
            raise busy_error()
        self._claimed.add(key)
        try:
            yield
        finally:
            self._claimed.discard(key)
