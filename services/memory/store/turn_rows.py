"""Which turn holds a conversation, and until when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from services.memory.store import conversation_rows
from services.memory.store.tables import turns
from services.rpc.errors import ConversationBusy

if TYPE_CHECKING:
    from sqlalchemy import Connection

_t = turns.c

_RETRY_SECONDS = 1.0


def hold(connection: Connection, user_id: str, conversation_id: str, turn_id: str, lease_ns: int) -> None:
    """Gives a conversation to a turn for so long, or for so much longer where the turn has it already.

    Raises:
        ConversationNotFound: There is none, or it is another user's.
        ConversationBusy: Another turn has it.
    """
    conversation_rows.owned(connection, user_id, conversation_id, lock=True)
    now = time.time_ns()
    held = connection.execute(
        select(_t.turn_id, _t.until_ns).where(_t.conversation_id == conversation_id)
    ).one_or_none()
    if held is not None and held.turn_id != turn_id and held.until_ns > now:
        raise ConversationBusy("Another turn of this conversation is under way.", retry_after=_RETRY_SECONDS)
    connection.execute(delete(turns).where(_t.conversation_id == conversation_id))
    connection.execute(insert(turns).values(conversation_id=conversation_id, turn_id=turn_id, until_ns=now + lease_ns))


def end(connection: Connection, user_id: str, conversation_id: str, turn_id: str) -> None:
    """Takes the conversation back from a turn; where the turn does not have it, nothing is changed.

    Raises:
        ConversationNotFound: There is none, or it is another user's.
    """
    conversation_rows.owned(connection, user_id, conversation_id, lock=True)
    connection.execute(delete(turns).where(_t.conversation_id == conversation_id, _t.turn_id == turn_id))
