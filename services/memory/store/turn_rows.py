"""Which turn holds a conversation, and until when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select, update

from services.memory.store import conversation_rows
from services.memory.store.hot_statement import HotStatement
from services.memory.store.tables import turns
from services.rpc.errors import ConversationBusy

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, Connection

_t = turns.c

_RETRY_SECONDS = 1.0

_THEIRS = _t.conversation_id == bindparam("wanted_id")
_LEASE: dict[str, BindParameter[Any]] = {"turn_id": bindparam("own_id"), "until_ns": bindparam("until")}
_HELD = HotStatement(select(_t.turn_id, _t.until_ns).where(_THEIRS))
_PROLONG = HotStatement(update(turns).where(_THEIRS).values(_LEASE))
_TAKE = HotStatement(insert(turns).values(conversation_id=bindparam("wanted_id"), **_LEASE))
_END = HotStatement(delete(turns).where(_THEIRS, _t.turn_id == bindparam("own_id")))


def hold(connection: Connection, user_id: str, conversation_id: str, turn_id: str, lease_ns: int) -> None:
    """Gives a conversation to a turn for so long, or for so much longer where the turn has it already.

    Raises:
        ConversationNotFound: There is none, or it is another user's.
        ConversationBusy: Another turn has it.
    """
    conversation_rows.owned(connection, user_id, conversation_id, lock=True)
    now = time.time_ns()
    held = _HELD.rows(connection, {"wanted_id": conversation_id})
    if held:
        ((holder, until_ns),) = held
        if holder != turn_id and until_ns > now:
            raise ConversationBusy("Another turn of this conversation is under way.", retry_after=_RETRY_SECONDS)
    lease = {"wanted_id": conversation_id, "own_id": turn_id, "until": now + lease_ns}
    (_PROLONG if held else _TAKE).run(connection, lease)


def end(connection: Connection, user_id: str, conversation_id: str, turn_id: str) -> None:
    """Takes the conversation back from a turn; where the turn does not have it, nothing is changed.

    Raises:
        ConversationNotFound: There is none, or it is another user's.
    """
    conversation_rows.owned(connection, user_id, conversation_id, lock=True)
    _END.run(connection, {"wanted_id": conversation_id, "own_id": turn_id})
