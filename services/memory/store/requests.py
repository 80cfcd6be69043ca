"""Remembers carried out writes by their `request_id` (https://google.aip.dev/155).

A record is written in the transaction of its write and kept for good, about 120 bytes each.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select

from services.memory.store import tables
from services.memory.store.hot_statement import HotStatement
from services.rpc.errors import FieldViolation, RequestIdReused

if TYPE_CHECKING:
    from sqlalchemy import Connection


_r = tables.requests.c

_FIND = HotStatement(
    select(_r.digest, _r.conversation_id, _r.first_sequence, _r.conversation_count, _r.message_count).where(
        _r.key == bindparam("wanted_key")
    )
)
_REMEMBER = HotStatement(insert(tables.requests).values({column.name: bindparam(column.name) for column in _r}))


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Who writes, under which `request_id`, and a digest of what is asked for, its kind included."""

    user_id: str
    request_id: str
    digest: bytes

    @property
    def key(self) -> bytes:
        """What the record is found by: the same `request_id` of two users has two."""
        return hashlib.sha256(f"{self.request_id}/{self.user_id}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a write did, without text."""

    conversation_id: str | None = None
    first_sequence: int | None = None
    conversation_count: int = 0
    message_count: int = 0


def find(connection: Connection, request: WriteRequest) -> Outcome | None:
    """Returns what the request did when it was carried out before; None where it was not.

    Raises:
        RequestIdReused: The `request_id` was used for something else.
    """
    rows = _FIND.rows(connection, {"wanted_key": request.key})
    if not rows:
        return None
    ((digest, *done),) = rows
    if digest != request.digest:
        wrong = "was used before for another request; a new request needs a new UUID"
        raise RequestIdReused(f"request_id {wrong}.", violations=[FieldViolation("request_id", wrong)])
    return Outcome(*done)


def remember(connection: Connection, request: WriteRequest, outcome: Outcome) -> None:
    """Stores what the request did."""
    _REMEMBER.run(
        connection,
        {
            "key": request.key,
            "digest": request.digest,
            "conversation_id": outcome.conversation_id,
            "first_sequence": outcome.first_sequence,
            "conversation_count": outcome.conversation_count,
            "message_count": outcome.message_count,
        },
    )
