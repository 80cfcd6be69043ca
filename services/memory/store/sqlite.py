"""Opens the store on an SQLite file: everything that is SQLite's own is here.

Write-ahead log with `synchronous=FULL`: a transaction is durable when its commit returns, and readers never wait
for the writer. `secure_delete` overwrites what is deleted, and a truncating checkpoint takes it out of the log.
One service process at a time owns the file, held by a lock file beside it: two would each believe themselves the
only writer. Several replicas share a PostgreSQL database.

Source: https://www.sqlite.org/pragma.html, https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import DBAPIError

from services.memory.off_loop import off_loop
from services.memory.store.hot_statement import run_text
from services.memory.store.migrate import migrate
from services.memory.store.process_lock import ProcessLock
from services.memory.store.reader import ThreadReader
from services.memory.store.sql_store import SqlStore
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from services.memory.store.store import Store

_BUSY_TIMEOUT_MS = 5_000
_READERS = 2
"""Threads that read: a long read leaves one for others."""

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}",
)


async def open_sqlite_store(path: Path) -> Store:
    """Opens the database, making or migrating it where needed.

    Raises:
        StartupError: The file is another process's, no database of ours, damaged, newer than this program, or
            not writable.
    """
    try:
        lock = ProcessLock(path.with_name(f"{path.name}.lock"))
    except BlockingIOError:
        raise StartupError(
            f"The database {path} is in use by another memory service; stop that one, or set "
            f"{variable_name('data_dir')} to another folder."
        ) from None
    except OSError as failure:
        raise _unusable(path, failure.strerror or "the file system refuses") from None
    write_engine = _engine(path, 1, "BEGIN IMMEDIATE")
    read_engine = _engine(path, _READERS, "BEGIN")
    try:
        # What people wrote is not for other users of the machine; the log files take the database's mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        await off_loop(_prepare, write_engine, str(path))
    except BaseException as failure:
        write_engine.dispose()
        lock.release()
        if isinstance(failure, DBAPIError):
            raise _unusable(path, str(failure.orig)) from None
        if isinstance(failure, OSError):
            raise _unusable(path, failure.strerror or "the file system refuses") from None
        raise
    return SqlStore(
        ThreadReader(read_engine, _READERS),
        write_engine,
        scrub=partial(_truncate_log, write_engine),
        on_close=lock.release,
    )


def _unusable(path: Path, why: str) -> StartupError:
    return StartupError(
        f"The database {path} cannot be used ({why}); repair it, restore it from a backup, or set "
        f"{variable_name('data_dir')} to another folder."
    )


def _engine(path: Path, connections: int, begin: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=connections,
        max_overflow=0,
        # Parameters are what people wrote; they must never reach a log through an exception.
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        # The driver's own transaction control begins too late for reads and writes to be one transaction.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        run_text(connection, begin)

    return engine


def _prepare(engine: Engine, database: str) -> None:
    with engine.begin() as connection:
        migrate(connection, database, f"set {variable_name('data_dir')} to another folder")
    # Whatever a run that was killed deleted without getting to this.
    _truncate_log(engine)


def _truncate_log(engine: Engine) -> None:
    """Moves the write-ahead log into the database and empties it, so that no deleted text is left in it."""
    while True:
        with contextlib.closing(engine.raw_connection()) as connection:
            (busy, _log_pages, _moved_pages) = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        # A reader still needs the log; readers are short.
        time.sleep(0.01)
