"""Opens the store on a PostgreSQL server, which several replicas may share: what is PostgreSQL's own is here.

A transaction that returned is on the server's disk (`synchronous_commit`). A transaction that writes locks its
users first (see `locks`) and reads what is committed by then; one that only reads sees one moment of the database.

Source: https://www.postgresql.org/docs/15/transaction-iso.html,
https://www.postgresql.org/docs/15/runtime-config-client.html
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from services.memory.off_loop import off_loop
from services.memory.store import replica_rows
from services.memory.store.heartbeat import Heartbeat
from services.memory.store.locks import MIGRATING, lock_work
from services.memory.store.migrate import migrate, needed, newest_revision
from services.memory.store.postgres_address import VARIABLE, PostgresAddress, parse_address
from services.memory.store.reader import AsyncReader
from services.memory.store.sql_store import SqlStore
from services.memory.store.writer import passes
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from pydantic import SecretStr
    from sqlalchemy import Connection, Engine

    from services.memory.store.store import Store

_log = structlog.get_logger()

_OLDEST_VERSION = 15
_WRITERS = 4
_POOL_WAIT_SECONDS = 10.0
_ASK_SECONDS = 1.0

_SESSION = (
    # A replica that hangs with a user's lock must not stop the others for good.
    "SET lock_timeout = '2s'",
    "SET idle_in_transaction_session_timeout = '30s'",
)

# What the server says while it comes up, goes down or has no place, for which waiting helps; other refusals stand.
_PASSING_REFUSALS = ("starting up", "shutting down", "recovery", "too many", "remaining connection slots")


class _Waiting(Exception):
    """The database cannot be used yet; the message says why."""


async def open_postgres_store(url: SecretStr, connections: int, wait_seconds: float) -> Store:
    """Opens the database, making or migrating the tables where needed.

    Args:
        url: Address, user, password and database.
        connections: Most connections that are held: some for writing, the others for reading. At least 2.
        wait_seconds: Longest wait for a server that is not there, and for replicas of an older version to end.

    Raises:
        StartupError: The address is malformed, the server cannot be reached or refuses, is older than 15, or the
            database is no UTF-8 database of ours that this program may write to.
    """
    if sys.platform == "win32":
        # psycopg's asyncio face cannot use the event loop that is Windows' own, which the service runs on.
        raise StartupError(
            f"{VARIABLE}: PostgreSQL is not supported on Windows; run the memory service on Linux or macOS."
        )
    address = parse_address(url)
    writers = max(1, min(_WRITERS, connections // 2))
    write_engine = create_engine(
        "postgresql+psycopg://",
        connect_args=dict(address.parameters),
        pool_size=writers,
        max_overflow=0,
        # Parameters are what people wrote; they must never reach a log through an exception.
        hide_parameters=True,
    )
    read_engine = create_async_engine(
        "postgresql+psycopg://",
        connect_args=dict(address.parameters),
        pool_size=connections - writers,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_SECONDS,
        hide_parameters=True,
        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    )
    _set_up(write_engine)
    _set_up(read_engine.sync_engine)
    heartbeat = Heartbeat()
    try:
        await _prepared(write_engine, address, heartbeat, wait_seconds)
    except BaseException:
        write_engine.dispose()
        raise
    # Nothing is scrubbed: the server has no call that overwrites what was deleted (see docs/operations.md).
    return SqlStore(AsyncReader(read_engine), write_engine, writers=writers, heartbeat=heartbeat)


def _set_up(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.autocommit = True
        for setting in _SESSION:
            connection.execute(setting)
        # Stronger settings (remote_apply) are the operator's to choose; "off" would acknowledge what can be lost.
        if connection.execute("SHOW synchronous_commit").fetchone()[0] == "off":
            connection.execute("SET synchronous_commit = on")
        connection.autocommit = False


async def _prepared(engine: Engine, address: PostgresAddress, heartbeat: Heartbeat, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            await off_loop(_prepare, engine, address, heartbeat)
        except _Waiting as reason:
            why = str(reason)
        except DBAPIError as failure:
            why = _first_line(failure)
            if not _worth_waiting(failure, why):
                raise _unusable(address, why) from None
        else:
            return
        if time.monotonic() >= deadline:
            raise _unusable(address, f"after {wait_seconds:g} seconds: {why}")
        _log.info("waiting for the database", seconds_left=round(deadline - time.monotonic()), why=why)
        await asyncio.sleep(min(_ASK_SECONDS, max(0.0, deadline - time.monotonic())))


def _prepare(engine: Engine, address: PostgresAddress, heartbeat: Heartbeat) -> None:
    instead = f"set {VARIABLE} to another database"
    with engine.begin() as connection:
        _check_server(connection, address)
        # Not bounded: another replica may be migrating much data.
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        lock_work(connection, MIGRATING)
        if needed(connection, address.shown, instead):
            others = replica_rows.older(connection, newest_revision())
            if others:
                raise _Waiting(f"{others} replicas of an older version run on it and have to be stopped")
        migrate(connection, address.shown, instead)
        # In the transaction that found the schema right, or nobody would know not to change it.
        heartbeat.beat(connection)


def _check_server(connection: Connection, address: PostgresAddress) -> None:
    version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    if version < _OLDEST_VERSION:
        raise StartupError(
            f"{VARIABLE}: the server of {address.shown} is PostgreSQL {version}; {_OLDEST_VERSION} or later is needed."
        )
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise StartupError(
            f"{VARIABLE}: the database {address.shown} holds text as {encoding}; make one with ENCODING 'UTF8'."
        )
    if connection.exec_driver_sql("SHOW fsync").scalar_one() == "off":
        _log.warning("the server has fsync off: what it acknowledged can be lost when its machine fails")


def _worth_waiting(failure: DBAPIError, why: str) -> bool:
    if not passes(failure):
        return False
    return "FATAL" not in why or any(words in why for words in _PASSING_REFUSALS)


def _first_line(failure: DBAPIError) -> str:
    """Returns what the driver or the server says, which names hosts, users and tables, but no secret."""
    if getattr(failure.orig, "sqlstate", None) == "42501":  # insufficient_privilege
        return (
            "its user lacks rights there: GRANT CREATE, USAGE ON SCHEMA public, or make it the owner of the database "
            "and of its tables"
        )
    text = " ".join(str(failure.orig).split("\n")[0].split())
    return text.rsplit("failed: ", 1)[-1] or type(failure.orig).__name__


def _unusable(address: PostgresAddress, why: str) -> StartupError:
    return StartupError(f"{VARIABLE}: the database {address.shown} cannot be used ({why.rstrip('.')}).")
