"""Which conversation a session of LangChain's is.

A session is named by the application, a conversation by the backend. The two are tied without a table: a session's
conversation is created under a `request_id` that follows from the session's id, and the backend answers a repeated
`request_id` with the conversation that it created first, whoever repeats it, and whenever. Where that one is gone,
because the session was cleared or its time was up, the session's next number is taken.
"""

from __future__ import annotations

import itertools
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.errors import ConversationNotFound

if TYPE_CHECKING:
    from client.chat_client import ChatClient

_NAMESPACE = uuid.UUID("5f0c1d7e-6a53-4d0b-9d5c-8f3f2b1c7a64")
_REMEMBERED = 10_000
"""Sessions whose conversation is known without asking."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of one user."""

    user: str | None
    session_id: str


@dataclass(frozen=True, slots=True)
class _Place:
    number: int
    """How many conversations of the session are gone."""
    conversation: str


class Sessions:
    """The sessions of one connection. Used on its loop only."""

    def __init__(self) -> None:
        self._places: OrderedDict[Session, _Place] = OrderedDict()

    async def conversation(self, client: ChatClient, session: Session, *, gone: str = "") -> str:
        """Returns the resource name of a session's conversation, which is created where there is none.

        Args:
            client: Of the session's user.
            session: Which.
            gone: A conversation that was the session's and is no more.

        Raises:
            ChatbotError: What the backend answered.
        """
        place = self._places.get(session)
        if place is None or place.conversation == gone:
            place = await self._find(client, session, place.number + 1 if place else 0)
            self._places[session] = place
        self._places.move_to_end(session)
        if len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
        return place.conversation

    async def _find(self, client: ChatClient, session: Session, first: int) -> _Place:
        for number in itertools.count(first):
            request_id = uuid.uuid5(_NAMESPACE, f"{number}/{session.session_id}")
            try:
                created = await client.create_conversation(title=session.session_id, request_id=str(request_id))
            except ConversationNotFound:  # it was created once, and is gone
                continue
            return _Place(number, created.name)
        raise AssertionError
