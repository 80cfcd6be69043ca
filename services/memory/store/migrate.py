"""Brings a database to the newest schema, inside the transaction of the connection it is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect

from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FOLDER = Path(__file__).parent.parent / "migrations"


def newest_revision() -> str:
    """Returns the number of the newest migration: they are numbered, and their files begin with the number."""
    return max(path.name.split("_", 1)[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def migrate(connection: Connection, database: str) -> None:
    """Makes or upgrades the tables.

    Args:
        connection: An open transaction; nothing is changed where it is rolled back.
        database: What to call the database in messages.

    Raises:
        StartupError: The database is not this service's, or newer than this program.
    """
    tables = inspect(connection).get_table_names()
    if tables and "alembic_version" not in tables:
        raise StartupError(
            f"The database {database} holds tables that are not this service's; set "
            f"{variable_name('data_dir')} to another folder."
        )
    current = (
        connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none() if tables else None
    )
    newest = newest_revision()
    if current == newest:
        return
    if current is not None and current > newest:
        raise StartupError(
            f"The database {database} is of version {current}, newer than this program, which knows versions up to "
            f"{newest}; install a newer program, or point {variable_name('data_dir')} at another folder."
        )
    # Importing it takes most of a second, and few starts need it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
