"""Where a server that speaks OpenAI's API is, as a setting says it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from services.rpc.settings import StartupError, variable_name

_API = "/v1"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of a server, without credentials, so that it may be shown."""

    base: str
    """Its OpenAI-compatible API: `http://host:8000/v1`."""

    @property
    def root(self) -> str:
        """Where the server's own calls are, which are not OpenAI's: `http://host:8000`."""
        return self.base.removesuffix(_API)


def parse_server_address(value: str, field: str, key_field: str) -> ServerAddress:
    """Reads an address; without a path it is that of `/v1`.

    Args:
        value: What was set.
        field: The setting that has it.
        key_field: The setting that the server's key belongs in.

    Raises:
        StartupError: It is none. The message does not repeat one that has credentials in it.
    """
    variable = variable_name(field)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise StartupError(f"{variable}: its host or port is wrong; it must look like http://host:8000/v1.") from None
    if parts.username is not None or parts.password is not None:
        raise StartupError(
            f"{variable}: the address must have no user and password in it; set the server's key in "
            f"{variable_name(key_field)}."
        )
    if not host or port == 0 or parts.query or parts.fragment:
        raise StartupError(f"{variable}={value}: it must look like http://host:8000/v1.")
    return ServerAddress(urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or _API, "", "")))
