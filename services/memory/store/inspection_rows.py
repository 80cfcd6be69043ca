"""Reads what operators are told: who is in the database and how much there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from services.memory.inspection import Statistics, UserSize
from services.memory.store import expiry_rows
from services.memory.store.tables import conversations, messages, unembedded, vectors
from services.memory.store.vector_rows import WORDS_ALONE

if TYPE_CHECKING:
    from sqlalchemy import Connection, ScalarSelect

_c, _m, _v = conversations.c, messages.c, vectors.c


def users_after(connection: Connection, user_id: str, limit: int) -> list[str]:
    """Returns up to `limit` users who have a conversation, past one id, in the order of ids."""
    query = select(_c.user_id).distinct().where(_c.user_id > user_id, expiry_rows.LIVE)
    return list(connection.execute(query.order_by(_c.user_id).limit(limit)).scalars())


def statistics(connection: Connection, largest: int) -> Statistics:
    """Returns what is in the database, with the `largest` users who have the most text."""
    users, count, own_bytes = connection.execute(
        select(func.count(_c.user_id.distinct()), func.count(), func.coalesce(func.sum(_c.size), 0))
    ).one()
    said, superseded, said_bytes = connection.execute(
        select(
            func.count(),
            func.count().filter(_m.superseded),
            func.coalesce(func.sum(_m.size), 0),
        ).select_from(messages)
    ).one()
    by_embedder = connection.execute(
        select(_v.embedder, func.count())
        .where(_v.embedder != WORDS_ALONE)
        .group_by(_v.embedder)
        .order_by(func.count().desc(), _v.embedder)
    )
    return Statistics(
        users=users,
        conversations=count,
        messages=said,
        superseded=superseded,
        # PostgreSQL adds whole numbers up to a decimal.
        text_bytes=int(own_bytes) + int(said_bytes),
        database_bytes=_database_bytes(connection),
        vectors=tuple((row[0], row[1]) for row in by_embedder),
        pending=connection.execute(select(func.count()).select_from(unembedded)).scalar_one(),
        largest=_largest(connection, largest) if largest else (),
    )


def _largest(connection: Connection, limit: int) -> tuple[UserSize, ...]:
    said: ScalarSelect[int] = (
        select(func.coalesce(func.sum(_m.size), 0)).where(_m.conversation_id == _c.id).scalar_subquery()
    )
    each = select(_c.user_id, _c.last_sequence, (_c.size + said).label("bytes")).subquery()
    total = func.sum(each.c.bytes)
    rows = connection.execute(
        select(each.c.user_id, func.count(), func.sum(each.c.last_sequence), total)
        .group_by(each.c.user_id)
        .order_by(total.desc(), each.c.user_id)
        .limit(limit)
    )
    return tuple(UserSize(row[0], row[1], int(row[2]), int(row[3])) for row in rows)


def _database_bytes(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        size: int = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
        return size
    pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    page_bytes: int = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    return pages * page_bytes
