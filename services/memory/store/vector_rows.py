"""Vectors in the database, and the log by which indexes in memory follow them.

Each vector of a user has a position, given in the order in which vectors are stored. A user's last position and
deletion counter tell whether an index in memory is whole (`UserLog`), and the position from where it is not.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import (
    BigInteger,
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    select,
    update,
)

from services.memory.store.hot_statement import HotList, HotStatement
from services.memory.store.locks import REINDEXING, lock_users, lock_work
from services.memory.store.tables import messages, unembedded, users, vectors
from services.memory.terms import RECIPE
from services.memory.vector import NewVector, UnembeddedMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from sqlalchemy import Connection

_v, _m, _q, _u = vectors.c, messages.c, unembedded.c, users.c

# SQLite's index by position holds what is asked for: no vector is read.
_MESSAGE_IDS = HotStatement(select(_v.message_id).where(_v.user_id == bindparam("wanted_user")))
_TAKE_POSITIONS = HotStatement(
    update(users)
    .where(_u.user_id == bindparam("wanted_user"))
    .values(last_position=_u.last_position + bindparam("count", type_=BigInteger()))
    .returning(_u.last_position)
)
_WAITING = HotList(lambda ids: select(_q.message_id, _q.user_id).where(_q.message_id.in_(ids)))
_TAKE_OUT = HotList(
    lambda ids: delete(vectors).where(_v.message_id.in_(ids)).returning(_v.message_id, _v.user_id, _v.terms)
)
_NO_LONGER_WAITING = HotList(lambda ids: delete(unembedded).where(_q.message_id.in_(ids)).returning(_q.message_id))

WORDS_ALONE = f"none/{RECIPE}"
"""Stands for the embedder where there are words and no vector yet."""


def message_ids(connection: Connection, user_id: str) -> NDArray[np.int64]:
    """Returns which messages the user's log is of."""
    return np.array(_MESSAGE_IDS.rows(connection, {"wanted_user": user_id}), dtype=np.int64).reshape(-1)


def awaited(connection: Connection, user_id: str, up_to: int, limit: int) -> list[UnembeddedMessage]:
    """Returns messages of the user's, up to one id, that nothing is found by yet: the newest first."""
    rows = connection.execute(
        select(_q.message_id, _q.user_id, _m.content, _m.author, _m.create_ns)
        .join_from(unembedded, messages, _m.id == _q.message_id)
        .where(_q.user_id == user_id, _q.awaited, _q.message_id <= up_to)
        .order_by(_q.message_id.desc())
        .limit(limit)
    )
    return [UnembeddedMessage(*row) for row in rows]


def next_unembedded(
    connection: Connection, replica: str | None, limit: int, *, awaited: bool = False
) -> list[UnembeddedMessage]:
    """Returns messages of any user's that `replica` is to embed, the oldest first.

    Those that searches wait for come before the others, never together with them; with `awaited` they come alone.
    """
    for awaited_ones in (True,) if awaited else (True, False):
        rows = connection.execute(
            select(_q.message_id, _q.user_id, _m.content, _m.author, _m.create_ns)
            .join_from(unembedded, messages, _m.id == _q.message_id)
            .where(_q.replica == replica, _q.awaited.is_(awaited_ones))
            .order_by(_q.message_id)
            .limit(limit)
        )
        found = [UnembeddedMessage(*row) for row in rows]
        if found:
            return found
    return []


def count_unembedded(connection: Connection) -> int:
    """Returns how many messages wait for a vector."""
    return connection.execute(select(func.count()).select_from(unembedded)).scalar_one()


def queue_other_embedders(connection: Connection, embedder: str, after: int, limit: int) -> int | None:
    """Queues messages whose vector is another embedder's to be embedded anew, by whichever replica comes to it.

    Args:
        connection: An open transaction.
        embedder: Whose vectors stay.
        after: Only messages with a larger id.
        limit: Most messages to queue.

    Returns:
        The last id that was queued; None where none was.
    """
    lock_work(connection, REINDEXING)
    # Each table is bounded by itself: where the database merges them, it would read the others from their beginning.
    waiting = exists().where(_q.message_id == _v.message_id, _q.message_id > after)
    others = (
        select(_v.message_id, _v.user_id, false())
        .join_from(vectors, messages, _m.id == _v.message_id)
        .where(_v.embedder != embedder, _v.message_id > after, _m.id > after, ~waiting)
        .order_by(_v.message_id)
        .limit(limit)
        # What somebody is deleting needs no vector; waiting for it could end in a deadlock.
        .with_for_update(read=True, key_share=True, of=messages, skip_locked=True)
    )
    queued = connection.execute(
        insert(unembedded).from_select(["message_id", "user_id", "awaited"], others).returning(_q.message_id)
    )
    return max(queued.scalars(), default=None)


def put(connection: Connection, embedder: str, vector_of: Mapping[int, NewVector], dimension: int) -> None:
    """Stores vectors of messages, except of those that were deleted or superseded meanwhile.

    Args:
        connection: An open transaction.
        embedder: Id of the embedder.
        vector_of: Vectors and terms by message id.
        dimension: Of the vectors.
    """
    live = _put(connection, embedder, vector_of, dimension)
    _NO_LONGER_WAITING.rows(connection, live, {})


def put_words(connection: Connection, terms_of: Mapping[int, bytes]) -> None:
    """Lets messages be found by their words, except those that were deleted or superseded meanwhile.

    They wait on for their vector, but no search waits for that any more.

    Args:
        connection: An open transaction.
        terms_of: What `terms.pack_terms` gives, by message id.
    """
    live = _put(connection, WORDS_ALONE, {i: NewVector(b"", terms) for i, terms in terms_of.items()}, 0)
    connection.execute(update(unembedded).where(_q.message_id.in_(live)).values(awaited=False))


def _put(connection: Connection, embedder: str, vector_of: Mapping[int, NewVector], dimension: int) -> list[int]:
    """Stores what messages that wait are found by, and returns their ids: those that are still there."""
    wanted = list(vector_of)
    lock_users(connection, {user_id for _, user_id in _WAITING.rows(connection, wanted, {})})
    ids_of: dict[str, list[int]] = {}
    for i, user_id in sorted(map(tuple, _WAITING.rows(connection, wanted, {}))):
        ids_of.setdefault(user_id, []).append(i)
    live = [i for ids in ids_of.values() for i in ids]
    if not live:
        return []
    replaced = _TAKE_OUT.rows(connection, live, {})
    # An index in memory puts another vector in a message's place, but never other words.
    for user_id in {user_id for i, user_id, terms in replaced if terms != vector_of[i].terms}:
        count_deletion(connection, user_id)
    rows = [
        {
            "message_id": i,
            "user_id": user_id,
            "embedder": embedder,
            "dimension": dimension,
            "position": position,
            "vector": vector_of[i].vector,
            "terms": vector_of[i].terms,
        }
        for user_id, ids in ids_of.items()
        for position, i in enumerate(ids, start=_take_positions(connection, user_id, len(ids)))
    ]
    connection.execute(insert(vectors), rows)
    return live


def count_deletion(connection: Connection, user_id: str) -> None:
    """Notes that vectors of the user's are gone, so that every index in memory takes them out."""
    connection.execute(update(users).where(_u.user_id == user_id).values(deletion_counter=_u.deletion_counter + 1))


def forget_user(connection: Connection, user_id: str) -> None:
    """Deletes the user's log."""
    connection.execute(delete(users).where(_u.user_id == user_id))


def _take_positions(connection: Connection, user_id: str, count: int) -> int:
    """Returns the first of `count` new positions."""
    rows = _TAKE_POSITIONS.rows(connection, {"wanted_user": user_id, "count": count})
    last: int = rows[0][0] if rows else count
    if not rows:
        connection.execute(
            insert(users).values(user_id=user_id, last_position=count, deletion_counter=secrets.randbits(62))
        )
    return last - count + 1
