"""`python -m client`: the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from client.errors import ChatbotError
from client.requests import new_request_id
from client.terminal import options
from client.terminal.answer import INTERRUPTED, Question, answer, refuse, status_of, text_to_say
from client.terminal.keyboard import Prompt, history_path, open_history
from client.terminal.lines import error_line
from client.terminal.loop import TerminalLoop
from client.terminal.messages import Words, words_of_locale
from client.terminal.options import Target, WrongUse
from client.terminal.screen import Screen
from client.terminal.session import Session
from client.values import RecallConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO


def chat(
    *,
    address: options.Address = None,
    user: options.User = None,
    api_key_file: options.KeyFile = None,
    tls: options.UseTls = False,
    ca_file: options.CaFile = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new conversation.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain text: no colours, no rendered markdown.")] = False,
    as_json: options.Json = False,
) -> None:
    """Chat with the model. With piped input: prints the reply to it and exits.

    `python -m client ask QUESTION` says one thing and prints the reply; see its own --help.
    """
    words = words_of_locale()

    def run() -> int:
        target = Target.of(words, address=address, user=user, api_key_file=api_key_file, tls=tls, ca_file=ca_file)
        if (piped := _piped_input()) is not None:
            question = Question(text_to_say("", piped, words))
            return asyncio.run(answer(target, question, words, as_json=as_json))
        if as_json:
            raise WrongUse(words("json_needs_input"))
        return asyncio.run(_converse(target, words, new=new, plain=plain))

    _end(run, as_json=as_json)


def ask(
    question: Annotated[str, typer.Argument(help="What is said. What is piped in goes before it.")] = "",
    *,
    address: options.Address = None,
    user: options.User = None,
    api_key_file: options.KeyFile = None,
    tls: options.UseTls = False,
    ca_file: options.CaFile = None,
    as_json: options.Json = False,
    conversation: Annotated[
        str, typer.Option(help="Go on in this one (conversations/…), or in the `last`. Default: a new one.")
    ] = "",
    no_recall: Annotated[
        bool, typer.Option("--no-recall", help="Recall nothing that was said in other conversations.")
    ] = False,
    request_id: Annotated[
        str | None, typer.Option(help="UUID of this turn. Asked again with it, what was stored is replayed.")
    ] = None,
    temperature: Annotated[str | None, typer.Option(help="0 is greedy; up to 5.")] = None,
    top_p: Annotated[str | None, typer.Option(help="Over 0, up to 1.")] = None,
    top_k: Annotated[str | None, typer.Option(help="0 keeps all tokens.")] = None,
    min_p: Annotated[str | None, typer.Option(help="0 to 1.")] = None,
    repetition_penalty: Annotated[str | None, typer.Option(help="Over 0, up to 10; 1 is off.")] = None,
    frequency_penalty: Annotated[str | None, typer.Option(help="-2 to 2; 0 is off.")] = None,
    presence_penalty: Annotated[str | None, typer.Option(help="-2 to 2; 0 is off.")] = None,
    seed: Annotated[str | None, typer.Option(help="Makes the reply reproducible on the same set-up.")] = None,
    max_tokens: Annotated[str | None, typer.Option(help="Most tokens to generate.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends the reply; may be given again.")] = None,
) -> None:
    """Say one thing, print the reply, and exit: 0 a reply, 1 none, 2 wrong use, 3 no connection, 4 no valid key."""
    words = words_of_locale()
    settings = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "frequency_penalty": frequency_penalty,
        "presence_penalty": presence_penalty,
        "seed": seed,
        "max_tokens": max_tokens,
    }

    def run() -> int:
        target = Target.of(words, address=address, user=user, api_key_file=api_key_file, tls=tls, ca_file=ca_file)
        sampling = options.sampling_of(settings, stop or (), words)
        asked = Question(
            text_to_say(question, _piped_input(), words),
            conversation,
            sampling,
            RecallConfig(enabled=False if no_recall else None),
            request_id or new_request_id(),
        )
        return asyncio.run(answer(target, asked, words, as_json=as_json))

    _end(run, as_json=as_json)


async def _converse(target: Target, words: Words, *, new: bool, plain: bool) -> int:
    try:
        async with target.client() as client:
            prompt = Prompt(open_history(history_path()))
            session = Session(client, Screen(plain=plain), prompt, words)
            await TerminalLoop(session, prompt).run(resume=not new)
    except ChatbotError as error:
        # Of what the options say; what calls fail with is told in the session.
        sys.stderr.write(error_line(words, error, target.address) + "\n")
        return status_of(error)
    return 0


def _piped_input() -> BinaryIO | None:
    """Returns standard input where no person types it."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return sys.stdin.buffer


def _end(run: Callable[[], int], *, as_json: bool) -> None:
    """Runs to the end and exits with the status."""
    try:
        status = run()
    except WrongUse as wrong:
        status = refuse(str(wrong), as_json=as_json)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


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
    if os.name == "posix" and not os.environ.get("TERM"):
        os.environ["TERM"] = "dumb"  # of a terminal that nobody describes nothing can be expected
    arguments = sys.argv[1:]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    if arguments[:1] == ["ask"]:
        app.command()(ask)
        app(arguments[1:], prog_name="python -m client ask")
    else:
        app.command()(chat)
        app(arguments, prog_name="python -m client")


if __name__ == "__main__":
    main()
