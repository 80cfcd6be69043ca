"""Finds what is wrong in the database: what its constraints cannot hold, and what a damaged file no longer does."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, exists, func, or_, select

from services.memory.inspection import Fault
from services.memory.store.tables import conversations, messages, requests, turns, unembedded, users, vectors

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select, Table

_c, _m, _v, _q, _u, _r = conversations.c, messages.c, vectors.c, unembedded.c, users.c, requests.c

_MOST_FINDINGS = 20
_TERM_BYTES = 5  # of a `terms.RECORD`
_UUID_CHARACTERS = 36


def of_database(connection: Connection) -> list[Fault]:
    """Returns what is wrong with the database as such, and rows that hang on nothing."""
    faults = []
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_FINDINGS})").scalars().all()
        faults += [Fault(f"SQLite finds damage: {' '.join(said.split())}") for said in found if said != "ok"]
        broken = len(connection.exec_driver_sql("PRAGMA foreign_key_check").all())
        if broken:
            faults.append(Fault(f"{broken} rows break a foreign key"))
    alone = {
        "messages of no conversation": _alone(messages, conversations, _m.conversation_id == _c.id),
        "vectors of no message": _alone(vectors, messages, _v.message_id == _m.id),
        "messages that wait to be embedded but do not exist": _alone(unembedded, messages, _q.message_id == _m.id),
        "turns of no conversation": _alone(turns, conversations, turns.c.conversation_id == _c.id),
        "vectors under another user than their message's": select(func.count())
        .select_from(vectors)
        .join(messages, _m.id == _v.message_id)
        .join(conversations, _c.id == _m.conversation_id)
        .where(_c.user_id != _v.user_id),
        "messages that wait to be embedded under another user than their own": select(func.count())
        .select_from(unembedded)
        .join(messages, _m.id == _q.message_id)
        .join(conversations, _c.id == _m.conversation_id)
        .where(_c.user_id != _q.user_id),
        "vectors past the end of their user's log, or of a user without one": select(func.count())
        .select_from(vectors)
        .outerjoin(users, _u.user_id == _v.user_id)
        .where(or_(_u.user_id.is_(None), _v.position > _u.last_position)),
    }
    for what, query in alone.items():
        count = connection.execute(query).scalar_one()
        if count:
            faults.append(Fault(f"{count} {what}"))
    return faults


def _alone(rows: Table, others: Table, belongs: ColumnElement[bool]) -> Select[int]:
    """Returns the query that counts rows to which none of the others belongs."""
    return select(func.count()).select_from(rows).where(~exists().select_from(others).where(belongs))


def of_requests(connection: Connection, after: bytes, limit: int) -> tuple[list[Fault], bytes | None]:
    """Checks up to `limit` records of appends whose conversation still exists.

    Returns:
        The faults, and the last key that was looked at; None where none was.
    """
    first = and_(_m.conversation_id == _r.conversation_id, _m.sequence == _r.first_sequence)
    rows = connection.execute(
        select(
            _r.key, _r.conversation_id, _r.first_sequence, _r.message_count, _c.user_id, _c.last_sequence, _m.request_id
        )
        .select_from(requests)
        .join(conversations, _c.id == _r.conversation_id)
        .outerjoin(messages, first)
        .where(_r.first_sequence.is_not(None), _r.key > after)
        .order_by(_r.key)
        .limit(limit)
    ).all()
    faults = []
    for row in rows:
        expected = hashlib.sha256(f"{row.request_id}/{row.user_id}".encode()).digest()
        if row.request_id is None or row.first_sequence + row.message_count - 1 > row.last_sequence:
            what = "a request's record names messages that are not there"
        elif row.key != expected:
            what = f"message {row.first_sequence} does not carry the request id that stored it"
        else:
            continue
        faults.append(Fault(what, row.user_id, row.conversation_id))
    return faults, rows[-1].key if rows else None


def of_user(connection: Connection, user_id: str, embedder: str, dimension: int) -> list[Fault]:
    """Returns what is wrong with a user's conversations, and with what they are found by.

    Args:
        connection: An open transaction, of one moment of the database.
        user_id: Whose.
        embedder: Id of the embedder that searches use.
        dimension: Of its vectors.
    """
    return [*_of_conversations(connection, user_id), *_of_vectors(connection, user_id, embedder, dimension)]


def _of_conversations(connection: Connection, user_id: str) -> list[Fault]:
    # Ids grow in the order in which messages are stored.
    placed = (
        select(
            _m.conversation_id,
            _m.sequence,
            _m.superseded,
            _count_if(or_(_m.reply_to < 1, _m.reply_to >= _m.sequence)).label("bad_reply"),
            _count_if(func.length(_m.request_id) != _UUID_CHARACTERS).label("bad_request"),
            _count_if(_m.id < func.lag(_m.id).over(partition_by=_m.conversation_id, order_by=_m.sequence)).label(
                "disordered"
            ),
        )
        .join_from(messages, conversations, _c.id == _m.conversation_id)
        .where(_c.user_id == user_id)
        .subquery()
    )
    p = placed.c
    rows = connection.execute(
        select(
            _c.id,
            _c.last_sequence,
            _c.message_count,
            _c.window_start_sequence,
            _c.summary_through_sequence,
            func.count(p.sequence).label("rows"),
            func.count(p.sequence).filter(~p.superseded).label("live"),
            func.coalesce(func.min(p.sequence), 1).label("first"),
            func.coalesce(func.max(p.sequence), 0).label("last"),
            func.coalesce(func.sum(p.bad_reply), 0).label("bad_replies"),
            func.coalesce(func.sum(p.bad_request), 0).label("bad_requests"),
            func.coalesce(func.sum(p.disordered), 0).label("disordered"),
        )
        .select_from(conversations)
        .outerjoin(placed, p.conversation_id == _c.id)
        .where(_c.user_id == user_id)
        .group_by(_c.id)
        .order_by(_c.id)
    )
    faults = []
    for row in rows:
        wrong = {
            f"sequences have gaps: {row.rows} messages, from {row.first} to {row.last}": row.first != 1
            or row.last != row.rows,
            f"its last sequence is {row.last_sequence}, that of its messages {row.last}": row.last_sequence != row.last,
            f"it counts {row.message_count} messages and has {row.live}": row.message_count != row.live,
            f"{row.disordered} messages were not stored in the order of their sequences": row.disordered,
            f"{row.bad_replies} messages reply to none before them": row.bad_replies,
            f"{row.bad_requests} messages carry no request id": row.bad_requests,
            f"its window starts at {row.window_start_sequence}": not (
                1 <= row.window_start_sequence <= row.last_sequence + 1
            ),
            f"its summary goes on to {row.summary_through_sequence}": not (
                0 <= row.summary_through_sequence <= row.last_sequence
            ),
        }
        faults += [Fault(what, user_id, row.id) for what, is_so in wrong.items() if is_so]
    return faults


def _of_vectors(connection: Connection, user_id: str, embedder: str, dimension: int) -> list[Fault]:
    findable = and_(_m.content != "", ~_m.superseded)
    idle = _q.message_id.is_(None)
    made, ours = _v.message_id.is_not(None), _v.embedder == embedder
    rows = connection.execute(
        select(
            _m.conversation_id,
            _sum_if(and_(findable, ~made, idle)).label("missing"),
            _sum_if(and_(made, ~ours, idle)).label("other"),
            _sum_if(and_(made, ours, _misshapen(dimension))).label("misshapen"),
            _sum_if(and_(made, ours, _without_terms())).label("without_terms"),
            _sum_if(and_(~findable, or_(made, ~idle))).label("not_to_be_found"),
        )
        .select_from(messages)
        .join(conversations, _c.id == _m.conversation_id)
        .outerjoin(vectors, _v.message_id == _m.id)
        .outerjoin(unembedded, _q.message_id == _m.id)
        .where(_c.user_id == user_id)
        .group_by(_m.conversation_id)
        .order_by(_m.conversation_id)
    )
    faults = []
    for row in rows:
        wrong = {
            f"{row.missing} messages have no vector and do not wait for one": row.missing,
            f"{row.other} vectors are another embedder's": row.other,
            f"{row.misshapen} vectors are not of {dimension} dimensions": row.misshapen,
            f"{row.without_terms} messages have no words to be found by": row.without_terms,
            f"{row.not_to_be_found} superseded or empty messages have a vector or wait for one": row.not_to_be_found,
        }
        faults += [Fault(what, user_id, row.conversation_id) for what, is_so in wrong.items() if is_so]
    return faults


def unusable(dimension: int) -> ColumnElement[bool]:
    """The condition that a vector, whoever made it, cannot be searched."""
    return or_(_misshapen(dimension), _without_terms())


def _misshapen(dimension: int) -> ColumnElement[bool]:
    return or_(_v.dimension != dimension, func.length(_v.vector) != 2 * dimension)


def _without_terms() -> ColumnElement[bool]:
    length = func.length(_v.terms)
    # The words of a message hold its date, so there are always some.
    return or_(length == 0, length % _TERM_BYTES != 0)


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _sum_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(_count_if(condition))
