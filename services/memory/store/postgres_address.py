"""Where a PostgreSQL server is, as libpq writes it: https://www.postgresql.org/docs/15/libpq-connect.html."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict

from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

VARIABLE = variable_name("database_url")

# What libpq leaves to the system, which notices a server that is gone after hours.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "application_name": "chatbot-memory",
    # Of several servers the one that can be written to.
    "target_session_attrs": "read-write",
}


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A database on a server.

    Attributes:
        parameters: libpq's, the password among them.
        shown: Host and database, for messages: no user and no password.
    """

    parameters: Mapping[str, str]
    shown: str


def parse_address(url: SecretStr) -> PostgresAddress:
    """Reads `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`.

    Raises:
        StartupError: It is no such address. The message never holds it.
    """
    given = url.get_secret_value()
    wanted = StartupError(
        f"{VARIABLE}: must be an address such as postgresql://USER:PASSWORD@HOST:5432/DATABASE, in which signs like "
        "@ and / in the password are written as %40 and %2F."
    )
    if not given.startswith(("postgresql://", "postgres://")):
        raise wanted
    try:
        parameters = {key: str(value) for key, value in conninfo_to_dict(given).items() if value is not None}
    except psycopg.Error:
        raise wanted from None
    if any(not port.isdigit() for port in parameters.get("port", "5432").split(",")):
        raise wanted
    host = parameters.get("host", parameters.get("hostaddr", "the local server"))
    database = parameters.get("dbname", parameters.get("user", ""))
    return PostgresAddress({**_DEFAULTS, **parameters}, f"{database or 'of the same name as the user'} on {host}")
