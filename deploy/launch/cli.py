"""The commands of `python run.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.launch.backend import Backend, Stopped, run_in_front, stop_on_signals
from deploy.launch.console import Console, Failure
from deploy.launch.environment import prepare
from deploy.launch.places import CHECKOUT, chosen_port, data_dir, is_taken, logs_dir, reachable_host
from deploy.launch.processes import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

USAGE = """\
usage: python run.py [--model MODEL] [--new] [--plain] [--json]
                                             set up, start the services, open the chat
       python run.py ask [--model MODEL] QUESTION …
                                             print one reply; piped text goes before the question; --help tells more
       python run.py serve [--model MODEL]   the same without the chat, until Ctrl-C
       python run.py test [PYTEST ARGUMENTS] run the tests
       python run.py memory COMMAND …        look at the memory's database and mend it; --help tells the commands
       python run.py keys COMMAND …          give out API keys and take them back; --help tells the commands
       python run.py lock                    choose the versions of all packages anew

MODEL is a model hub id such as google/gemma-3-1b-it, a folder, a .gguf file, or the address of a server that has it.
Without it CHATBOT_MODEL decides, and without that the small model that comes along.
`ask` asks the services that are running already, where there are any.
"""

CHAT_OPTIONS = frozenset({"--new", "--plain", "--json"})
"""What the chat itself understands."""


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked for."""

    name: str
    """`chat`, `ask`, `serve`, `test`, `memory`, `keys`, `lock` or `help`."""
    model: str = ""
    passed_on: tuple[str, ...] = ()
    """Arguments of the chat, of pytest, or of the memory's or the keys' command."""


@dataclass(frozen=True, slots=True)
class Door:
    """One service as it is started here."""

    name: str
    port_variable: str
    default_port: int
    health: str
    host_variable: str = "CHATBOT_INTERNAL_BIND_HOST"
    """Says which address it listens on. Only the gateway asks who calls, so only it has the one for others."""


# In the order they are taken down: what calls others first.
DOORS = (
    Door("gateway", "CHATBOT_GATEWAY_GRPC_PORT", 50051, "chatbot.v1.ChatService", "CHATBOT_BIND_HOST"),
    Door("inference", "CHATBOT_INFERENCE_GRPC_PORT", 50053, "chatbot.v1.InferenceService"),
    Door("memory", "CHATBOT_MEMORY_GRPC_PORT", 50052, "chatbot.v1.MemoryService"),
)

OPERATORS_MODULES = {"memory": "services.memory.command", "keys": "services.gateway.keys"}
"""Commands of whoever runs the services, by the module that has them."""

HTTP_PORT_VARIABLE = "CHATBOT_GATEWAY_HTTP_PORT"
DEFAULT_HTTP_PORT = 8080


def parse_arguments(arguments: Sequence[str]) -> Command:
    """Reads the command line.

    Raises:
        Failure: It is none that `USAGE` shows.
    """
    rest = list(arguments)
    if rest[:1] in (["-h"], ["--help"], ["help"]):
        return Command("help")
    name = rest.pop(0) if rest and not rest[0].startswith("-") else "chat"
    if name == "test" or name in OPERATORS_MODULES:
        return Command(name, passed_on=tuple(rest))
    if name not in {"chat", "ask", "serve", "lock"}:
        raise Failure(f"There is no command {name!r}.\n{USAGE.rstrip()}", exit_code=2)
    model = ""
    passed_on: list[str] = []
    while rest and name != "lock":
        if name == "chat" and rest[0] in CHAT_OPTIONS:
            passed_on.append(rest.pop(0))
            continue
        option, equals, value = rest[0].partition("=")
        if name == "ask" and option != "--model":
            return Command(name, model, tuple(rest))
        if option != "--model" or (not equals and len(rest) == 1):
            raise Failure(f"{option!r} is not understood.\n{USAGE.rstrip()}", exit_code=2)
        del rest[0]
        model = value if equals else rest.pop(0)
    if rest:
        raise Failure(f"{rest[0]!r} is not understood.\n{USAGE.rstrip()}", exit_code=2)
    return Command(name, model, tuple(passed_on))


def main(arguments: Sequence[str]) -> int:
    """Carries a command line out and returns the exit status."""
    console = Console(sys.stderr)
    return report(console, lambda: _run(parse_arguments(arguments), console))


def report(console: Console, action: Callable[[], int]) -> int:
    """Does something and returns its exit status; what stops it is told in a sentence, without a traceback."""
    try:
        stop_on_signals()
        return action()
    except Failure as failure:
        console.say(f"error: {failure}")
        return failure.exit_code
    except Stopped as stopped:
        console.say("Stopped.")
        return 128 + stopped.number
    except OSError as failure:
        place = f"{failure.filename}: " if failure.filename else ""
        console.say(f"error: {place}{failure.strerror or failure}.")
        return 1
    finally:
        console.clear()


def _run(command: Command, console: Console) -> int:
    if command.name == "help":
        sys.stdout.write(USAGE)
        return 0
    if command.name == "lock":
        from deploy.launch.make_locks import make_locks  # noqa: PLC0415 (slow imports that only this needs)

        make_locks(console)
        return 0
    if command.name == "test":
        python = prepare(console, dev=True)
        return _run_module(python, "pytest", command.passed_on, caching_environment(os.environ), CHECKOUT)
    if command.name in OPERATORS_MODULES:
        python = prepare(console, dev=False)
        env = callers_environment(service_environment(os.environ, ""))
        return _run_module(python, OPERATORS_MODULES[command.name], command.passed_on, env, None)

    env = service_environment(os.environ, command.model)
    ports = {door.name: chosen_port(env, door.port_variable, door.default_port) for door in DOORS}
    http_port = chosen_port(env, HTTP_PORT_VARIABLE, DEFAULT_HTTP_PORT)
    hosts = {door.name: reachable_host(env, door.host_variable) for door in DOORS}
    listens = [(door.port_variable, hosts[door.name], ports[door.name]) for door in DOORS]
    listens.append((HTTP_PORT_VARIABLE, hosts["gateway"], http_port))
    env |= {variable: str(port) for variable, _, port in listens if port is not None}
    if command.name == "ask" and (ready := _answering(command, hosts["gateway"], ports["gateway"])) is not None:
        front = [str(prepare(console, dev=False)), "-m", "client", "ask", *ready]
        return run_in_front(front, callers_environment(env))
    for variable, host, port in listens:
        # Asked before anything starts: else the health of whoever is there would be taken for our service's.
        if port is not None and is_taken(host, port):
            raise Failure(
                f"{host}:{port} cannot be listened on: the port is taken; set {variable} to a free one.",
                exit_code=2,
            )
    logs = logs_dir(data_dir(os.environ))
    python = prepare(console, dev=False)
    backend = Backend(
        [_service(door, python, hosts[door.name], ports[door.name]) for door in DOORS],
        env=env,
        cwd=CHECKOUT,
        logs=logs,
        prober=(str(python), "-m", "services.rpc.wait", "--exit-with-parent"),
        drain_seconds=drain_seconds(os.environ) + 2,
        console=console,
    )
    with backend.up():
        http = f"http://{_with_port(hosts['gateway'], http_port)}"
        if command.name == "chat":
            console.say(f"In a browser: {http}/ · OpenAI-compatible API: {http}/v1")
            front = [str(python), "-m", "client", *command.passed_on]
            return backend.run_in_front(front, callers_environment(env))
        if command.name == "ask":
            front = [str(python), "-m", "client", "ask", *command.passed_on]
            return backend.run_in_front(front, callers_environment(env))
        console.say(
            f"The gateway serves on {hosts['gateway']}:{ports['gateway']} (gRPC) and {http}/ (a page for browsers; the "
            f"OpenAI-compatible API is at {http}/v1); Ctrl-C stops it. Logs are in {logs}."
        )
        try:
            backend.run_until_signal()
        except Stopped as stopped:
            if stopped.number == signal.SIGINT:
                console.clear()
            console.say("Stopping.")
    return 0


def service_environment(environ: Mapping[str, str], model: str) -> dict[str, str]:
    """Returns the environment that the services and the chat run in."""
    paths = [str(CHECKOUT), str(CHECKOUT / "gen")]
    env = {**caching_environment(environ), "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    if model:
        env["CHATBOT_MODEL"] = model
    return env


def callers_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a program that runs in the caller's folder, since files that it is told are there.

    The data folder and the keys stay where the services have them, and no module is taken from that folder.
    """
    mine = {**env, "PYTHONSAFEPATH": "1"}
    for place in ("CHATBOT_DATA_DIR", "CHATBOT_API_KEYS_FILE"):
        if env.get(place):
            mine[place] = str(CHECKOUT / env[place])
    return mine


def _answering(command: Command, host: str, port: int | None) -> tuple[str, ...] | None:
    """Returns what to ask where no services need to be started for it; None where they do.

    Raises:
        Failure: A model is named, and services with one of their own run already.
    """
    if any(a in ("--help", "--address") or a.startswith("--address=") for a in command.passed_on):
        return command.passed_on
    if port is None or not is_taken(host, port):
        return None
    if command.model:
        raise Failure(
            f"Services are running on {host}:{port} already, with a model of their own: leave --model out.", exit_code=2
        )
    return command.passed_on


def caching_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment in which Python keeps the bytecode of what it imports.

    torch and what stands on it take some ten seconds longer to import without.
    """
    return {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def drain_seconds(environ: Mapping[str, str]) -> float:
    """Returns how long the services may take to stop, as their own setting says."""
    try:
        return min(max(float(environ.get("CHATBOT_DRAIN_SECONDS") or 20), 0), 3600)
    except ValueError:
        return 20.0


def _service(door: Door, python: Path, host: str, port: int | None) -> Service:
    address = _with_port(host, port)
    return Service(
        name=door.name,
        command=(str(python), "-m", f"services.{door.name}", "--exit-with-parent"),
        health=f"{address}/{door.health}" if port is not None else "",
    )


def _with_port(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _run_module(
    python: Path, module: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path | None
) -> int:
    command = [str(python), "-m", module, *arguments]
    running = subprocess.Popen(command, cwd=folder, env=env)  # noqa: S603 (our own)
    try:
        return running.wait()
    except Stopped:
        # Ctrl-C has reached it too, and it finishes what it must; any other signal is passed on.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        running.terminate()
        running.wait()
        raise
