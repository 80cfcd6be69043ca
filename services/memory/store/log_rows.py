"""A stretch of a user's log of vectors, as an index in memory reads it: thousands of rows at once.

SQLite joins rows into one text or one run of bytes a column: numbers and ids with commas between them, bytes with
nothing. Each value as an object of Python's own costs as much as all that the database does. PostgreSQL's driver gives
rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Integer, LargeBinary, bindparam, case, cast, func, literal_column, or_, select

from services.memory.store.hot_statement import HotStatement
from services.memory.store.tables import messages, vectors
from services.memory.terms import RECIPE, RECORD
from services.memory.vector import LogStretch, StoredVector, half_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sqlalchemy import ColumnElement, Connection

    from services.memory.vector import LogWanted, UserLog

_v, _m = vectors.c, messages.c

_AT_ONCE = 500
"""Messages a statement: what it gives is read out of the processor's caches, in memory that the next takes again."""
_MANY = 3 * _AT_ONCE
"""Messages from which on room is made for all that may come: their vectors nearly fill a huge page, of 2 MiB."""
_HUGE_BYTES = 4 << 20
"""Arrays from which on numpy asks for huge pages, whose memory is given out in a fraction of the time."""
_NOBODY = "-"
"""Stands for no author: no number in hexadecimal."""


# What is the same each time is a part of the statement: SQLite copies a parameter for every row that it is read for.
_THEIRS = _v.embedder == bindparam("embedder")
_FROM = (
    select()
    .join_from(vectors, messages, _m.id == _v.message_id)
    .where(
        _v.user_id == bindparam("wanted_user"),
        or_(_THEIRS, _v.embedder.like(literal_column(f"'%/{RECIPE}'"))),
    )
)
_FACTS = (_v.message_id, _v.position, _m.conversation_id, _m.sequence, _m.role, _m.author, _m.create_ns)


def _vector(none: str) -> ColumnElement[bytes]:
    """Returns what is read of a vector, where `none` is how the database writes no bytes."""
    return case((_THEIRS, _v.vector), else_=literal_column(none, LargeBinary()))


def _together(column: ColumnElement[bytes]) -> ColumnElement[bytes]:
    return cast(func.group_concat(column, literal_column("''")), LargeBinary)


def _as_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns what is joined of a column: of names, which may have commas in them, the hexadecimal digits."""
    if column is not _m.author:
        return column
    return case((column.is_(None), literal_column(f"'{_NOBODY}'")), else_=func.hex(column))


_ROWS = HotStatement(
    _FROM.add_columns(*_FACTS, _vector("''::bytea"), _v.terms)
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
        *(func.group_concat(_as_text(one)) for one in _FACTS),
        func.group_concat(_THEIRS),
        func.group_concat(func.length(_v.terms)),
        _together(_vector("x''")),
        _together(_v.terms),
    ).where(_v.position.between(bindparam("first"), bindparam("last")))
)


def following(connection: Connection, user_id: str, wanted: LogWanted, log: UserLog) -> LogStretch:
    """Returns what is wanted of a user's log, and is not known.

    Among vectors, with their words alone, are messages that are yet to be embedded anew, where words are made as now.

    Args:
        connection: An open transaction.
        user_id: Whose.
        wanted: What.
        log: How far it has come.
    """
    known = wanted.known
    if known is not None and not known.precedes(log):
        return LogStretch.of([])
    position = 0 if known is None else known.last_position
    parameters = {"wanted_user": user_id, "embedder": wanted.embedder}
    if connection.dialect.name != "sqlite":
        rows = _ROWS.rows(connection, {**parameters, "known": position, "at_most": wanted.limit})
        return LogStretch.of(list(map(StoredVector._make, rows)))
    pieces = _Pieces(wanted.limit)
    while pieces.left and position < log.last_position:
        first = position + 1
        if log.last_position - position > _AT_ONCE:
            # Where much was taken out, few of so many positions may be left.
            ((first,),) = _NEXT.rows(connection, {"wanted_user": user_id, "known": position})
            if first is None:
                break
        position = first + min(pieces.left, _AT_ONCE) - 1
        (row,) = _JOINED.rows(connection, {**parameters, "first": first, "last": position})
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
