"""The one place a setting is read: environment variables `CHATBOT_…`, typed, checked at start.

Each service derives one frozen settings class from `CommonSettings` and reads it once with `load_settings`.
Every field says in its description what it does; the settings table of the README is held against them.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "CHATBOT_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StartupError(Exception):
    """The service cannot start. The message is one sentence for whoever started it."""


class CommonSettings(BaseSettings):
    """Settings that all services have."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    bind_host: str = Field(
        "127.0.0.1",
        description="Address that the gateway listens on; any but loopback takes API keys or tokens. Containers set "
        "`0.0.0.0`.",
    )
    internal_bind_host: str = Field(
        "127.0.0.1",
        description="Address that the memory and inference services listen on. They ask nobody who they are: any but "
        "loopback is for a network of the gateways' own. Containers set `0.0.0.0`.",
    )
    gateway_grpc_port: Port = Field(50051, description="Port of the gateway, for clients.")
    memory_grpc_port: Port = Field(50052, description="Port of the memory service.")
    inference_grpc_port: Port = Field(50053, description="Port of the inference service.")
    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("chatbot", appauthor=False)),
        description="Folder for the database and what is prepared of models. Default: the platform's user data folder.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log lines to write: `debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Form of log lines: `text` for people, `json` for collectors."
    )
    drain_seconds: Seconds = Field(
        20.0, description="On SIGTERM: longest time that calls under way are given to finish."
    )

    @property
    def listen_host(self) -> str:
        """The address that this service listens on: that of the services behind the gateway."""
        return self.internal_bind_host

    @field_validator("bind_host", "internal_bind_host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value != "localhost":
            try:
                ip_address(value)
            except ValueError:
                raise ValueError("must be an IP address such as 127.0.0.1, or localhost") from None
        return value


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def variable_name(field: str) -> str:
    """Returns the environment variable that sets a field."""
    return f"{ENV_PREFIX}{field.upper()}"


def load_settings(kind: type[SettingsT]) -> SettingsT:
    """Reads the environment into a settings object.

    Raises:
        StartupError: A value is wrong; the message names the variable, the value and what would be right.
    """
    try:
        return kind()
    except ValidationError as invalid:
        problem = invalid.errors(include_url=False)[0]
        field = str(problem["loc"][0]) if problem["loc"] else ""
        expected = problem["msg"].removeprefix("Value error, ")
        where = variable_name(field) if field else "The settings"
        value = "" if field.endswith(("token", "key")) or "password" in field or not field else f"={problem['input']!s}"
        raise StartupError(f"{where}{value}: {expected[:1].lower()}{expected[1:]}.") from None


def usable_data_dir(path: Path) -> Path:
    """Creates the data folder where it is missing and returns it.

    Raises:
        StartupError: It cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{id(path)}"
        probe.touch()
        probe.unlink()
    except OSError as failure:
        raise StartupError(
            f"The data folder {path} cannot be written to ({failure.strerror}); "
            f"set {variable_name('data_dir')} to a folder that can."
        ) from None
    return path
