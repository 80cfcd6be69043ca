"""Queues stored messages to be embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, exists, insert, or_, select, true

from services.memory.store.fault_rows import unusable
from services.memory.store.locks import REINDEXING, lock_work
from services.memory.store.tables import conversations, messages, unembedded, vectors

if TYPE_CHECKING:
    from sqlalchemy import Connection

_c, _m, _v, _q = conversations.c, messages.c, vectors.c, unembedded.c


def queue(
    connection: Connection, embedder: str, dimension: int, *, everything: bool, after: int, limit: int
) -> int | None:
    """Queues messages to be embedded by whichever replica comes to it, except those that wait already.

    Args:
        connection: An open transaction.
        embedder: Whose vectors stay where they can be searched.
        dimension: Of its vectors.
        everything: Whether no vector stays.
        after: Only messages with a larger id.
        limit: Most messages to queue.

    Returns:
        The last id that was queued; None where none was.
    """
    lock_work(connection, REINDEXING)
    wanting = or_(_v.message_id.is_(None), _v.embedder != embedder, unusable(dimension))
    # Each table is bounded by itself: where the database merges them, it would read the others from their beginning.
    chosen = (
        select(_m.id, _c.user_id, _v.message_id.is_(None))
        .join_from(messages, conversations, _c.id == _m.conversation_id)
        .outerjoin(vectors, and_(_v.message_id == _m.id, _v.message_id > after))
        .where(
            _m.id > after,
            _m.content != "",
            ~_m.superseded,
            ~exists().where(_q.message_id == _m.id, _q.message_id > after),
            true() if everything else wanting,
        )
        .order_by(_m.id)
        .limit(limit)
        # What somebody is deleting or superseding needs no vector; waiting for it could end in a deadlock.
        .with_for_update(read=True, of=messages, skip_locked=True)
    )
    queued = connection.execute(
        insert(unembedded).from_select(["message_id", "user_id", "awaited"], chosen).returning(_q.message_id)
    )
    return max(queued.scalars(), default=None)
