"""Keeps replicas that share a database from writing for the same user at the same time.

Everything that a write reads and changes belongs to its user: conversations, messages, vectors, the record of a
`request_id`. So one lock a user, held until the transaction ends, is enough for sequences without gaps, for a
`request_id` that two replicas get at once, and for a log of vectors that grows in order.

SQLite needs none: a transaction that may write is alone from its beginning.

Source: https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import ARRAY, BigInteger, bindparam, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

MIGRATING = "migrating"
REINDEXING = "reindexing"

# Rows of a function come in the order of its argument, and each row's lock is taken as it comes.
_LOCK = text("SELECT count(pg_advisory_xact_lock(k)) FROM unnest(:keys) AS k").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)


def lock_users(connection: Connection, user_ids: Iterable[str]) -> None:
    """Waits until nobody else writes for these users, and keeps it so until the transaction ends.

    A transaction calls this once, before it takes any other lock: locks are taken in one order by everybody, so
    that no two transactions can wait for each other.
    """
    _lock(connection, {f"user/{user_id}" for user_id in user_ids})


def lock_work(connection: Connection, name: str) -> None:
    """Waits until no other replica does the work of this name, and keeps it so until the transaction ends."""
    _lock(connection, {f"work/{name}"})


def _lock(connection: Connection, names: set[str]) -> None:
    if connection.dialect.name != "postgresql" or not names:
        return
    # Two names with one key wait for each other without need, and that is all.
    keys = sorted(
        {int.from_bytes(hashlib.sha256(f"chatbot/{name}".encode()).digest()[:8], "big", signed=True) for name in names}
    )
    connection.execute(_LOCK, {"keys": keys})
