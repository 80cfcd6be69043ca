"""Where a user stands, in one statement: at every search each costs a round trip, or switches of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, exists, func, select

from services.memory.store import expiry_rows
from services.memory.store.hot_statement import HotStatement
from services.memory.store.tables import unembedded, users
from services.memory.vector import Standing, UserLog

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, Connection

_q, _u = unembedded.c, users.c
_USER: BindParameter[str] = bindparam("wanted_user")
_STANDING = HotStatement(
    select(
        select(_u.last_position).where(_u.user_id == _USER).scalar_subquery(),
        select(_u.deletion_counter).where(_u.user_id == _USER).scalar_subquery(),
        select(func.max(_q.message_id)).where(_q.user_id == _USER, _q.awaited).scalar_subquery(),
        exists().where(*expiry_rows.past_of_user(_USER)),
    )
)


def standing(connection: Connection, user_id: str) -> tuple[Standing, list[str]]:
    """Returns where the user's log stands and what nothing is found by yet; and their expired conversations."""
    ((position, deletions, last_awaited, expired),) = _STANDING.rows(connection, {"wanted_user": user_id})
    log = None if position is None else UserLog(position, deletions)
    return Standing(log, last_awaited), expiry_rows.of_user(connection, user_id) if expired else []
