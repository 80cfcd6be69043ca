"""The replicas that share a database: who lives, and whose work it is to embed which message.

A message that was just stored is embedded by the replica that stored it. Where that one has died, another takes its
messages over. A replica lives as long as it says so every few seconds, by the database's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, cast, delete, exists, func, insert, or_, select, update

from services.memory.store.tables import replicas, unembedded

if TYPE_CHECKING:
    from sqlalchemy import Connection

LEASE_SECONDS = 12.0
"""How long a replica counts as living after it last said so."""

_FORGET_NS = 60_000_000_000

_r, _q = replicas.c, unembedded.c


def beat(connection: Connection, replica: str, revision: str) -> None:
    """Notes that a replica lives, and which schema it knows. Forgets dead ones that left no work."""
    now = _now_ns(connection)
    alive_until_ns = now + int(LEASE_SECONDS * 1e9)
    known = connection.execute(update(replicas).where(_r.id == replica).values(alive_until_ns=alive_until_ns))
    if known.rowcount == 0:
        connection.execute(insert(replicas).values(id=replica, revision=revision, alive_until_ns=alive_until_ns))
    gone = select(_r.id).where(_r.alive_until_ns < now - _FORGET_NS, ~exists().where(_q.replica == _r.id))
    connection.execute(delete(replicas).where(_r.id.in_(gone.with_for_update(skip_locked=True))))


def retire(connection: Connection, replica: str) -> None:
    """Notes that a replica has ended."""
    connection.execute(update(replicas).where(_r.id == replica).values(alive_until_ns=0))


def older(connection: Connection, revision: str) -> int:
    """Returns how many living replicas know only a schema before `revision`."""
    return connection.execute(
        select(func.count())
        .select_from(replicas)
        .where(_r.alive_until_ns > _now_ns(connection), _r.revision < revision)
    ).scalar_one()


def take_over(connection: Connection, replica: str, limit: int, *, awaited: bool = False) -> int:
    """Gives a replica up to `limit` messages that are nobody's or a dead replica's, and returns how many.

    Those that searches wait for before the others; with `awaited` only they. Two replicas never get the same.
    """
    dead = select(_r.id).where(_r.alive_until_ns <= _now_ns(connection))
    for awaited_ones in (True,) if awaited else (True, False):
        free = (
            select(_q.message_id)
            .where(or_(_q.replica.is_(None), _q.replica.in_(dead)), _q.awaited.is_(awaited_ones))
            .order_by(_q.message_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        ids = connection.execute(free).scalars().all()
        if ids:
            connection.execute(update(unembedded).where(_q.message_id.in_(ids)).values(replica=replica))
            return len(ids)
    return 0


def _now_ns(connection: Connection) -> int:
    # The replicas' own clocks may differ.
    now: int = connection.execute(
        select(cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000_000, BigInteger))
    ).scalar_one()
    return now
