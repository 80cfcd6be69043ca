"""What the command line says about the connection and about replies."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.channel import Tls, stays_on_this_machine
from client.chat_client import ChatClient
from client.terminal import sampling
from client.values import SamplingConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from client.terminal.messages import Words

PORT_VARIABLE = "CHATBOT_GATEWAY_GRPC_PORT"
KEY_VARIABLE = "CHATBOT_API_KEY"

Address = Annotated[
    str | None,
    typer.Option(help=f"Where the gateway is, as host:port. Default: 127.0.0.1 and ${PORT_VARIABLE} or 50051."),
]
User = Annotated[str | None, typer.Option(help="Who you are, where no key tells. Default: the local user.")]
KeyFile = Annotated[
    Path | None, typer.Option("--api-key-file", help=f"File with your API key. Default: the key in ${KEY_VARIABLE}.")
]
UseTls = Annotated[bool, typer.Option("--tls", help="Encrypt the connection, and check the server's certificate.")]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        exists=True,
        dir_okay=False,
        help="Trust the authorities in this PEM file, not the system's. Means --tls.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For scripts: one JSON object a line; see docs/clients/ask.md.")]


class WrongUse(Exception):
    """The command line asks for what cannot be done. Its text is one sentence for the person."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which backend is talked to, and as whom."""

    address: str
    user: str | None
    api_key: str | None
    tls: Tls | None

    @classmethod
    def of(
        cls,
        words: Words,
        *,
        address: str | None,
        user: str | None,
        api_key_file: Path | None,
        tls: bool,
        ca_file: Path | None,
    ) -> Target:
        """Returns what the options and the environment say.

        Raises:
            WrongUse: They say what cannot be.
        """
        where = address or _default_address(words)
        key = _key_in(api_key_file, words) if api_key_file is not None else os.environ.get(KEY_VARIABLE, "").strip()
        encrypted = tls or ca_file is not None
        if key and not encrypted and not stays_on_this_machine(where):
            raise WrongUse(words("key_without_tls", address=where))
        return cls(where, user, key or None, Tls(ca_file) if encrypted else None)

    def client(self) -> ChatClient:
        """Returns a client for it.

        Raises:
            InvalidArgument: The key is none.
        """
        return ChatClient(self.address, self.user, api_key=self.api_key, tls=self.tls)


def sampling_of(given: Mapping[str, str | None], stops: Sequence[str], words: Words) -> SamplingConfig:
    """Returns the sampling that options ask for, each as it was typed.

    Raises:
        WrongUse: A setting does not take what it was given.
    """
    chosen = replace(SamplingConfig(), stop=tuple(stops))
    for name, value in given.items():
        if value is None:
            continue
        try:
            chosen = sampling.changed(chosen, name, value)
        except sampling.WrongValue as wrong:
            message = words(wrong.key, name=name, value=value, **wrong.limits)
            raise WrongUse(words("wrong_value", name=name.replace("_", "-"), message=message)) from None
    return chosen


def _default_address(words: Words) -> str:
    value = os.environ.get(PORT_VARIABLE) or "50051"
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise WrongUse(words("bad_port", value=value))
    return f"127.0.0.1:{value}"


def _key_in(file: Path, words: Words) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as failure:
        raise WrongUse(words("wrong_key_file", path=file, why=failure.strerror)) from None
    except UnicodeDecodeError:
        raise WrongUse(words("wrong_key_file", path=file, why="UTF-8")) from None
