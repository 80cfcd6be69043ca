"""Processes that live exactly as long as the command that started them.

Each runs in a session of its own, so that Ctrl-C in the terminal does not reach it, and holds the reading end of a
pipe whose other end is here: however this process ends, the pipe closes and they stop.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.launch.console import Failure
from deploy.launch.places import open_log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

POLL_SECONDS = 0.03
_TAIL_LINES = 10
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Service:
    """A process to keep, and how to ask whether it is ready."""

    name: str
    """Short name: `memory`."""
    command: tuple[str, ...]
    health: str = ""
    """`host:port/gRPC service name` of its health; empty where nobody can ask."""


class Running:
    """One service's process and its log."""

    def __init__(self, service: Service, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.service = service
        self.log = log
        with open_log(log) as output:
            self._process = subprocess.Popen(  # noqa: S603 (commands of our own)
                service.command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                **own_group(),
            )

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def death(self) -> Failure:
        """Returns what to tell when it has died."""
        return describe_death(self.service.name, self._process.wait(), self.log)

    def ask_to_stop(self) -> None:
        """Begins an orderly stop."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Ends it, and whatever it has started, at once."""
        # Once it has been waited for, its number may belong to another process.
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.name == "posix":
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
        self._process.wait()


def own_group() -> dict[str, Any]:
    """Returns the arguments of `Popen` that keep the terminal's Ctrl-C away from a process.

    It stays in our session: Linux shares processors out between sessions first, and what one process does in the
    background would get as much of them as all threads of another.
    """
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"process_group": 0}


def stop_all(running: Sequence[Running], seconds: float) -> None:
    """Stops processes, orderly within `seconds`, else by force. A signal meanwhile is taken as: at once."""
    try:
        for process in running:
            process.ask_to_stop()
        deadline = time.monotonic() + seconds
        while any(process.is_alive for process in running) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:
        for process in running:
            process.kill()


def describe_death(name: str, exit_code: int, log: Path) -> Failure:
    """Returns what to tell about a service that stopped by itself.

    Services say why they refuse to start in their last line, `error: …`, and exit with 2.
    """
    lines = tail(log, _TAIL_LINES)
    last = lines[-1] if lines else ""
    if last.startswith("error: ") and exit_code == 2:
        return Failure(last.removeprefix("error: "), exit_code=2)
    how = f"with exit status {exit_code}" if exit_code >= 0 else f"by signal {_signal_name(-exit_code)}"
    shown = "".join(f"\n    {line}" for line in lines) or "\n    (nothing)"
    return Failure(f"The {name} service was ended {how}. The last lines of its log, {log}:{shown}")


def tail(log: Path, count: int) -> list[str]:
    """Returns the last lines of a log, without colours and empty lines."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [_ANSI.sub("", line).rstrip() for line in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line][-count:]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
