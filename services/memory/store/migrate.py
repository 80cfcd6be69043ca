"""Brings a database to the newest schema, inside the transaction of the connection it is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import inspect

from services.memory.store.progress import reported
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = structlog.get_logger()

_FOLDER = Path(__file__).parent.parent / "migrations"


def newest_revision() -> str:
    """Returns the number of the newest migration: they are numbered, and their files begin with the number."""
    return max(path.name.split("_", 1)[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def revision(connection: Connection) -> str | None:
    """Returns the number of the last migration that the database has seen; None: none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    return found


def needed(connection: Connection, database: str, instead: str) -> str | None:
    """Returns the database's revision where it has to be migrated (empty: a new one), None where it has not.

    Args:
        connection: An open transaction.
        database: What to call the database in messages.
        instead: What else the operator can do, completing "…; install a newer program, or".

    Raises:
        StartupError: The database is not this service's, or newer than this program.
    """
    current = revision(connection)
    if current is None and inspect(connection).get_table_names():
        raise StartupError(f"The database {database} holds tables that are not this service's; {instead}.")
    newest = newest_revision()
    if current is not None and current > newest:
        raise StartupError(
            f"The database {database} is of version {current}, newer than this program, which knows versions up to "
            f"{newest}; install a newer program, or {instead}."
        )
    return None if current == newest else current or ""


def migrate(connection: Connection, database: str, instead: str) -> None:
    """Makes or upgrades the tables, with a line a second in the log where that takes long.

    Nothing is changed where the transaction is rolled back. Arguments and errors are those of `needed`.
    """
    current = needed(connection, database, instead)
    if current is None:
        return
    # Importing it takes most of a second, and few starts need it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    with reported("migrating the database", current or "nothing", newest_revision()) as step:
        config.attributes["on_version_apply"] = step
        command.upgrade(config, "head")
