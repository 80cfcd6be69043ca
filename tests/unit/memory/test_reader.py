"""Reads of a database in a file: on connections that are held, and let go of where one has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

from services.memory.store.hot_statement import run_text
from services.memory.store.reader import ThreadReader
from services.rpc.errors import ConversationNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy import Connection


class _Desk:
    """A reader of one thread, and how many connections it has opened."""

    def __init__(self, path: Path) -> None:
        engine = create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0, pool_timeout=0.1)
        self.opened = 0
        event.listen(engine, "checkout", self._count)
        self.reader = ThreadReader(engine, 1)

    def _count(self, *_: object) -> None:
        self.opened += 1


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[_Desk]:
    made = _Desk(tmp_path / "any.db")
    yield made
    await made.reader.close()


def _one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


async def test_reads_share_a_connection(desk: _Desk) -> None:
    assert [await desk.reader.run(_one) for _ in range(3)] == [1, 1, 1]
    assert desk.opened == 1


async def test_what_is_made_of_a_read_is_made_when_that_has_ended(desk: _Desk) -> None:
    under_way: list[bool] = []
    seen: list[Connection] = []

    def read(connection: Connection) -> int:
        seen.append(connection)
        return _one(connection)

    def double(one: int) -> int:
        under_way.append(seen[0].in_transaction())
        return 2 * one

    assert await desk.reader.run_then(read, double) == 2
    assert under_way == [False]


async def test_a_refusal_costs_no_connection(desk: _Desk) -> None:
    def refuse(_: Connection) -> None:
        raise ConversationNotFound("There is none.")

    for _ in range(2):
        with pytest.raises(ConversationNotFound):
            await desk.reader.run(refuse)
    assert await desk.reader.run(_one) == 1
    assert desk.opened == 1


@pytest.mark.parametrize("execute", [lambda c, t: c.execute(text(t)), run_text], ids=["SQLAlchemy", "driver"])
async def test_after_a_failure_the_next_read_has_another_connection(desk: _Desk, execute: object) -> None:
    assert callable(execute)
    with pytest.raises(DBAPIError, match="no such table"):
        await desk.reader.run(lambda connection: execute(connection, "SELECT * FROM missing"))
    assert await desk.reader.run(_one) == 1
    assert desk.opened == 2
