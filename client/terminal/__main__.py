"""`python -m client.terminal`: the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from client.chat_client import ChatClient
from client.terminal.keyboard import Prompt, history_path, open_history
from client.terminal.messages import Words, words_of_locale
from client.terminal.piped import answer_input
from client.terminal.screen import Screen
from client.terminal.session import Session

_PORT_VARIABLE = "CHATBOT_GATEWAY_GRPC_PORT"


def chat(
    address: Annotated[
        str | None,
        typer.Option(help=f"Where the gateway is, as host:port. Default: 127.0.0.1 and ${_PORT_VARIABLE} or 50051."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="Who you are. Default: the local user.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new conversation.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain text: no colours, no rendered markdown.")] = False,
) -> None:
    """Chat with the model. With piped input: prints the reply to it and exits."""
    words = words_of_locale()
    target = address or _default_address(words)
    try:
        if not sys.stdin.isatty():
            sys.exit(asyncio.run(answer_input(target, user, words)))
        asyncio.run(_converse(target, user, words, new=new, plain=plain))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


async def _converse(address: str, user: str | None, words: Words, *, new: bool, plain: bool) -> None:
    async with ChatClient(address, user) as client:
        prompt = Prompt(open_history(history_path()))
        await Session(client, Screen(plain=plain), prompt, words).run(resume=not new)


def _default_address(words: Words) -> str:
    value = os.environ.get(_PORT_VARIABLE) or "50051"
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        sys.stderr.write(words("bad_port", value=value) + "\n")
        sys.exit(2)
    return f"127.0.0.1:{value}"


def _keep_grpc_quiet() -> None:
    """Has what is written past Python to the standard error go nowhere.

    gRPC's core writes lines of its own there, which would stand in the midst of a chat; what it may write it has read
    from the environment before this program has a say. What matters of it comes as an exception.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def main() -> None:
    """Runs the command line."""
    _keep_grpc_quiet()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(chat)
    app(prog_name="python -m client.terminal")


if __name__ == "__main__":
    main()
