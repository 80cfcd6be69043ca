"""A stretch of a user's log of vectors, as an index in memory reads it: thousands of rows at once.

SQLite joins rows into one text or one run of bytes a column: numbers and ids with commas between them, bytes with
nothing. Each value as an object of Python's own costs as much as all that the database does. PostgreSQL's driver gives
rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Integer, LargeBinary, bindparam, case, cast, func, or_, select

from services.memory.half_floats import singles
from services.memory.store.hot_statement import HotStatement
from services.memory.store.tables import messages, vectors
from services.memory.terms import RECIPE, RECORD
from services.memory.vector import LogStretch, StoredVector, half_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection, Select

_v, _m = vectors.c, messages.c

_AT_ONCE = 500
"""Messages a statement: what it gives is read out of the processor's caches, in memory that the next takes again."""
_NOBODY = "-"
"""Stands for no author: no number in hexadecimal."""


def _after() -> Select[Any]:
    theirs = _v.embedder == bindparam("embedder")
    return (
        select(
            _v.message_id,
            _v.position,
            _m.conversation_id,
            _m.sequence,
            _m.role,
            _m.author,
            _m.create_ns,
            case((theirs, _v.vector), else_=bindparam("none", b"", type_=LargeBinary())).label("vector"),
            _v.terms,
        )
        .join_from(vectors, messages, _m.id == _v.message_id)
        .where(
            _v.user_id == bindparam("wanted_user"),
            _v.position > bindparam("known"),
            or_(theirs, _v.embedder.like(bindparam("words"))),
        )
        .order_by(_v.position)
        .limit(bindparam("at_most", type_=Integer()))
    )


def _joined() -> Select[Any]:
    row = _after().subquery().c

    def together(column: Any) -> Any:
        return cast(func.group_concat(column, ""), LargeBinary)

    return select(
        *(
            func.group_concat(one)
            for one in (row.message_id, row.position, row.conversation_id, row.sequence, row.role)
        ),
        func.group_concat(case((row.author.is_(None), _NOBODY), else_=func.hex(row.author))),
        func.group_concat(row.create_ns),
        func.group_concat(func.length(row.vector) > 0),
        func.group_concat(func.length(row.terms)),
        together(row.vector),
        together(row.terms),
    )


_ROWS, _JOINED = HotStatement(_after()), HotStatement(_joined())


def after(connection: Connection, user_id: str, embedder: str, position: int, limit: int) -> LogStretch:
    """Returns the user's vectors of one embedder past `position`, up to so many.

    Among them, with their words alone, are messages that are yet to be embedded anew, where words are made as now.
    """
    wanted = {"wanted_user": user_id, "embedder": embedder, "words": f"%/{RECIPE}"}
    if connection.dialect.name != "sqlite":
        rows = _ROWS.rows(connection, {**wanted, "known": position, "at_most": limit})
        return LogStretch.of(list(map(StoredVector._make, rows)))
    pieces = _Pieces(limit)
    while pieces.left:
        at_most = min(pieces.left, _AT_ONCE)
        (row,) = _JOINED.rows(connection, {**wanted, "known": position, "at_most": at_most})
        if row[0] is None:
            break
        position = pieces.add(row, at_most)
    return pieces.joined()


class _Pieces:
    """Puts pieces of a stretch together.

    Args:
        limit: Most messages.
    """

    def __init__(self, limit: int) -> None:
        self.left = limit
        """How many more may come."""
        self._texts: list[Sequence[str]] = []
        self._terms: list[bytes] = []
        self._vectors: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self._filled = 0

    def add(self, piece: Sequence[Any], at_most: int) -> int:
        """Adds the next piece.

        Args:
            piece: A row of `_JOINED`.
            at_most: So many messages it has, unless there are no more.

        Returns:
            The position that it ends at.
        """
        *texts, vectors, terms = piece
        self._texts.append(texts)
        self._terms.append(terms)
        positions, stored = _numbers(texts[1]), _numbers(texts[7])
        count = len(positions)
        # Not held on to, so that the next piece's take their place in memory.
        halves = half_rows(vectors, int(np.count_nonzero(stored)))
        if len(halves):
            if not len(self._vectors):
                rows = self.left if count == at_most else len(halves)
                self._vectors = np.empty((rows, halves.shape[1]), dtype=np.float32)
            end = self._filled + len(halves)
            singles(halves, self._vectors[self._filled : end])
            self._filled = end
        self.left = self.left - count if count == at_most else 0
        return int(positions.max())

    def joined(self) -> LogStretch:
        """Returns the stretch."""
        if not self._texts:
            return LogStretch.of([])
        ids, positions, conversations, sequences, roles, authors, times, stored, term_bytes = (
            ",".join(column) for column in zip(*self._texts, strict=True)
        )
        named = authors.split(",")
        name_of: dict[str, str | None] = {one: bytes.fromhex(one).decode() for one in set(named) - {_NOBODY}}
        name_of[_NOBODY] = None
        return LogStretch(
            _numbers(ids),
            _numbers(positions),
            conversations.split(","),
            _numbers(sequences),
            _numbers(roles).astype(np.int8),
            [name_of[one] for one in named],
            _numbers(times),
            _numbers(stored) > 0,
            self._vectors[: self._filled],
            _numbers(term_bytes) // RECORD.itemsize,
            np.frombuffer(b"".join(self._terms), dtype=RECORD),
        )


def _numbers(joined: str) -> NDArray[np.int64]:
    return np.fromstring(joined, dtype=np.int64, sep=",")
