"""A stretch of a user's log of vectors, as an index in memory reads it: thousands of rows at once.

SQLite joins rows into one text or one run of bytes a column: numbers and ids with commas between them, bytes with
nothing. Each value as an object of Python's own costs as much as all that the database does. PostgreSQL's driver gives
rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Integer, LargeBinary, bindparam, case, cast, func, or_, select

from services.memory.store.hot_statement import HotStatement
from services.memory.store.tables import messages, vectors
from services.memory.terms import RECIPE, RECORD
from services.memory.vector import LogStretch, StoredVector, half_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sqlalchemy import ColumnElement, Connection

_v, _m = vectors.c, messages.c

_AT_ONCE = 500
"""Messages a statement: what it gives is read out of the processor's caches, in memory that the next takes again."""
_MANY = 3 * _AT_ONCE
"""Messages from which on room is made for all that may come: their vectors nearly fill a huge page, of 2 MiB."""
_HUGE_BYTES = 4 << 20
"""Arrays from which on numpy asks for huge pages, whose memory is given out in a fraction of the time."""
_NOBODY = "-"
"""Stands for no author: no number in hexadecimal."""


_THEIRS = _v.embedder == bindparam("embedder")
_FROM = (
    select()
    .join_from(vectors, messages, _m.id == _v.message_id)
    .where(
        _v.user_id == bindparam("wanted_user"),
        or_(_THEIRS, _v.embedder.like(bindparam("words"))),
    )
)
_FACTS = (_v.message_id, _v.position, _m.conversation_id, _m.sequence, _m.role, _m.author, _m.create_ns)
_VECTOR = case((_THEIRS, _v.vector), else_=bindparam("none", b"", type_=LargeBinary()))


def _together(column: ColumnElement[bytes]) -> ColumnElement[bytes]:
    return cast(func.group_concat(column, ""), LargeBinary)


_ROWS = HotStatement(
    _FROM.add_columns(*_FACTS, _VECTOR, _v.terms)
    .where(_v.position > bindparam("known"))
    .order_by(_v.position)
    .limit(bindparam("at_most", type_=Integer()))
)
_NEXT = HotStatement(
    select(func.min(_v.position)).where(_v.user_id == bindparam("wanted_user"), _v.position > bindparam("known"))
)
# Without an order, which a statement about all rows together could be given only around another statement: for a tenth
# of all the time. All columns are of the same rows in the same order: that of positions, by whose index they are found.
_JOINED = HotStatement(
    _FROM.add_columns(
        *(
            func.group_concat(case((one.is_(None), _NOBODY), else_=func.hex(one)) if one is _m.author else one)
            for one in _FACTS
        ),
        func.group_concat(_THEIRS),
        func.group_concat(func.length(_v.terms)),
        _together(_VECTOR),
        _together(_v.terms),
    ).where(_v.position.between(bindparam("first"), bindparam("last")))
)


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
        ((first,),) = _NEXT.rows(connection, {"wanted_user": user_id, "known": position})
        if first is None:
            break
        position = first + min(pieces.left, _AT_ONCE) - 1
        (row,) = _JOINED.rows(connection, {**wanted, "first": first, "last": position})
        if row[0] is not None:
            pieces.add(row)
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
        self._vectors: NDArray[np.float16] = np.empty((0, 0), dtype=np.float16)
        self._filled = 0

    def add(self, piece: Sequence[Any]) -> None:
        """Adds the next piece, a row of `_JOINED`."""
        *texts, vectors, terms = piece
        self._texts.append(texts)
        self._terms.append(terms)
        stored = _numbers(texts[7])
        self.left -= len(stored)
        # Not held on to, so that the next piece's take their place in memory.
        halves = half_rows(vectors, int(np.count_nonzero(stored)))
        if not len(halves):
            return
        end = self._filled + len(halves)
        if end > len(self._vectors):
            # Room that is not used is never touched, but for the rest of a page.
            room = max(end + self.left, _HUGE_BYTES // halves[0].nbytes + 1) if end >= _MANY else end
            roomy = np.empty((room, halves.shape[1]), dtype=np.float16)
            if self._filled:
                roomy[: self._filled] = self._vectors[: self._filled]
            self._vectors = roomy
        self._vectors[self._filled : end] = halves
        self._filled = end

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
