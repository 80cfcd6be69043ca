"""Conversations that have expired: to every reader they are gone from that moment on; their rows follow soon.

A conversation expires at its own `expire_ns`, exactly, or when nothing was written to it for as long as the service
keeps conversations, to which a sweep sees now and then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, or_, select

from services.memory.store import vector_rows
from services.memory.store.hot_statement import HotStatement
from services.memory.store.tables import conversations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import BindParameter, ColumnElement, Connection

_c = conversations.c


def _now_ns() -> int:
    return time.time_ns()


LIVE: ColumnElement[bool] = or_(_c.expire_ns.is_(None), _c.expire_ns > bindparam("now_ns", callable_=_now_ns))
"""The condition that a conversation has not expired, at the moment it is asked."""


def past_of_user(user_id: BindParameter[str]) -> Sequence[ColumnElement[bool]]:
    """Returns the conditions that a conversation is the user's and past its `expire_ns`, at the moment it is asked."""
    return _c.user_id == user_id, _c.expire_ns <= bindparam("past_ns", callable_=_now_ns)


_OF_USER = HotStatement(select(_c.id).where(*past_of_user(bindparam("wanted_user"))).order_by(_c.id))


def of_user(connection: Connection, user_id: str) -> list[str]:
    """Returns a user's conversations that are past their `expire_ns`."""
    return [i for (i,) in _OF_USER.rows(connection, {"wanted_user": user_id})]


def find(connection: Connection, unwritten_since_ns: int | None, limit: int) -> list[tuple[str, str]]:
    """Returns users and conversations that have expired.

    Args:
        connection: An open transaction.
        unwritten_since_ns: Those last written to before then have, too; None: only those past their `expire_ns`.
        limit: Most to return.
    """
    rows = connection.execute(select(_c.user_id, _c.id).where(_expired(unwritten_since_ns)).limit(limit))
    return [(row.user_id, row.id) for row in rows]


def remove(connection: Connection, user_id: str, ids: Sequence[str], unwritten_since_ns: int | None) -> int:
    """Deletes those of the user's conversations that have still expired, and returns how many."""
    removed = connection.execute(
        delete(conversations).where(_c.user_id == user_id, _c.id.in_(ids), _expired(unwritten_since_ns))
    ).rowcount
    if removed:
        vector_rows.count_deletion(connection, user_id)
    return removed


def _expired(unwritten_since_ns: int | None) -> ColumnElement[bool]:
    past = _c.expire_ns <= time.time_ns()
    return past if unwritten_since_ns is None else or_(past, _c.update_ns < unwritten_since_ns)
