"""Statements of every append and every search, without what SQLAlchemy adds to each execution.

On SQLite a statement of one row takes 3 µs on the driver's cursor and 25 µs through SQLAlchemy, with Python's lock
held; an append has six, a search five. On PostgreSQL a round trip to the server outweighs that, and SQLAlchemy's way
is taken.
"""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import BigInteger, String, bindparam
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import BindParameter, Connection, Delete, Insert, Select, Update
    from sqlalchemy.sql.dml import ReturningDelete


T = TypeVar("T")


def run_text(connection: Connection, text: str) -> None:
    """Executes what needs no rendering, has no parameters and returns no rows, on SQLite.

    Raises:
        DBAPIError: The driver's failure.
    """
    _on_cursor(connection, text, (), fetch=False)


class _Rendered(NamedTuple):
    """Text, and what gives the values of its parameters in order."""

    text: str
    values: Callable[[Mapping[str, Any]], Sequence[Any]]


class HotStatement:
    """A statement that is rendered once.

    Args:
        statement: With a bound parameter wherever a value goes. Its columns are of types that the drivers give as they
            are: numbers, text and bytes; a Boolean is 0 or 1 from SQLite.
    """

    def __init__(self, statement: Select[Any] | Insert | Update | Delete | ReturningDelete[Any]) -> None:
        self._statement = statement
        self._rendered: _Rendered | None = None

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> None:
        """Executes what returns no rows.

        Raises:
            DBAPIError: The driver's failure, without any value in it.
        """
        self._execute(connection, parameters, fetch=False)

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Returns rows, their columns in the statement's order.

        Raises:
            DBAPIError: The driver's failure, without any value in it.
        """
        return self._execute(connection, parameters, fetch=True)

    def _execute(
        self, connection: Connection, parameters: Mapping[str, Any], *, fetch: bool
    ) -> Sequence[Sequence[Any]]:
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._statement, parameters)
            return result.all() if fetch else ()
        if self._rendered is None:
            self._rendered = self._render(connection)
        text, values = self._rendered
        return _on_cursor(connection, text, values(parameters), fetch=fetch)

    def _render(self, connection: Connection) -> _Rendered:
        compiled = self._statement.compile(dialect=connection.dialect)
        names = compiled.positiontup or ()
        bound = {name: compiled.binds[name] for name in names}
        own = {name: one.callable or partial(_same, one.value) for name, one in bound.items() if not one.required}
        if len(names) > 1 and not own:
            return _Rendered(str(compiled), itemgetter(*names))
        return _Rendered(str(compiled), lambda given: [own[name]() if name in own else given[name] for name in names])


def _same(value: object) -> object:
    return value


def _on_cursor(connection: Connection, text: str, values: Sequence[Any], *, fetch: bool) -> Sequence[Sequence[Any]]:
    try:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(text, values)
            return cursor.fetchall() if fetch else ()
        finally:
            cursor.close()
    except connection.dialect.loaded_dbapi.Error as failure:
        raise DBAPIError(text, None, failure, hide_parameters=True) from None


MOST_AT_ONCE = 256
"""Ids of a list in one statement; more are several."""
_ID_NAMES = [f"id_{number}" for number in range(MOST_AT_ONCE)]
_PAIRS_AT_ONCE = 64
"""Likewise pairs, each a condition of its own."""

Id: TypeAlias = "BindParameter[int]"
Pair: TypeAlias = "tuple[BindParameter[str], BindParameter[int]]"


class HotList:
    """A hot statement about any number of ids: rendered once for each power of two of them.

    Args:
        build: Makes the statement for ids that are bound to these parameters. That an id comes twice changes nothing.
    """

    def __init__(self, build: Callable[[Sequence[Id]], Select[Any] | ReturningDelete[Any]]) -> None:
        self._build = build
        self._of_width: dict[int, HotStatement] = {}

    def rows(
        self, connection: Connection, ids: Sequence[int], parameters: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """Returns rows as `HotStatement.rows` does, in no order.

        Args:
            connection: An open transaction.
            ids: Different ones.
            parameters: The statement's others.

        Raises:
            DBAPIError: The driver's failure, without any value in it.
        """
        found: list[Sequence[Any]] = []
        for some, width in _portions(ids, MOST_AT_ONCE):
            if width not in self._of_width:
                bound = [bindparam(name, type_=BigInteger()) for name in _ID_NAMES[:width]]
                self._of_width[width] = HotStatement(self._build(bound))
            padded = [*some, *[some[-1]] * (width - len(some))]
            values = dict(zip(_ID_NAMES[:width], padded, strict=True))
            found += self._of_width[width].rows(connection, {**values, **parameters})
        return found


class HotPairs:
    """A hot statement about any number of pairs of a text and a number, as `HotList` is about ids.

    Args:
        build: Makes the statement for pairs that are bound to these parameters. That one comes twice changes nothing.
    """

    def __init__(self, build: Callable[[Sequence[Pair]], Select[Any]]) -> None:
        self._build = build
        self._of_width: dict[int, HotStatement] = {}

    def rows(self, connection: Connection, pairs: Sequence[tuple[str, int]]) -> Sequence[Sequence[Any]]:
        """Returns rows as `HotStatement.rows` does, in no order.

        Args:
            connection: An open transaction.
            pairs: Different ones.

        Raises:
            DBAPIError: The driver's failure, without any value in it.
        """
        found: list[Sequence[Any]] = []
        for some, width in _portions(pairs, _PAIRS_AT_ONCE):
            if width not in self._of_width:
                texts = (bindparam(f"text_{number}", type_=String()) for number in range(width))
                numbers = (bindparam(f"number_{number}", type_=BigInteger()) for number in range(width))
                self._of_width[width] = HotStatement(self._build(list(zip(texts, numbers, strict=True))))
            values: dict[str, Any] = {}
            for place in range(width):
                values[f"text_{place}"], values[f"number_{place}"] = some[min(place, len(some) - 1)]
            found += self._of_width[width].rows(connection, values)
        return found


def _portions(wanted: Sequence[T], most: int) -> Iterator[tuple[Sequence[T], int]]:
    """Yields some after some, each with the power of two that it is asked for with."""
    for start in range(0, len(wanted), most):
        some = wanted[start : start + most]
        yield some, 1 << (len(some) - 1).bit_length()
