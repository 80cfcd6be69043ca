"""The three services, up together and down together, and what runs in front of them."""

from __future__ import annotations

import contextlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from deploy.launch.console import Failure
from deploy.launch.processes import POLL_SECONDS, Running, own_group, stop_all, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType, ModuleType

    from deploy.launch.console import Console
    from deploy.launch.processes import Service

termios: ModuleType | None
try:
    import termios
except ImportError:  # Windows has none, and no terminal modes to restore
    termios = None

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_FRONT_STOP_SECONDS = 5.0
_LOG_PREFIX = re.compile(r"^\S+Z \[\w+ *\] ")
"""Time and level of a service's log line; a person who waits needs the rest."""


class Stopped(BaseException):
    """A signal asked this process to stop. Not an Exception: nothing on the way may take it for a fault."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stop_on_signals() -> None:
    """Turns the signals that end a program into `Stopped`, wherever it is at the time."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    for number in STOP_SIGNALS:
        signal.signal(number, stop)


class Backend:
    """The services of one run.

    Args:
        services: In the order they are taken down: what calls others first.
        env: Environment of the processes.
        cwd: Their working directory.
        logs: Folder of their logs.
        prober: Command that is given each service's `name=health`, and prints a name when that service serves.
        drain_seconds: Longest that a service may take to stop.
        console: Where progress is shown.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        env: Mapping[str, str],
        cwd: Path,
        logs: Path,
        prober: Sequence[str],
        drain_seconds: float,
        console: Console,
    ) -> None:
        self._services = services
        self._env = dict(env)
        self._cwd = cwd
        self._logs = logs
        self._prober = prober
        self._drain_seconds = drain_seconds
        self._console = console
        self._running: list[Running] = []

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """Starts the services, waits until all serve, and takes all down at the end.

        Raises:
            Failure: One of them died.
        """
        try:
            for service in self._services:
                log = self._logs / f"{service.name}.log"
                self._running.append(Running(service, self._env, self._cwd, log))
            self._wait_until_serving()
            self._console.clear()
            yield
        finally:
            self._console.clear()
            self._stop()

    def run_in_front(self, command: Sequence[str], env: Mapping[str, str]) -> int:
        """Runs a command on the terminal until it ends, and returns its exit status. See `run_in_front`.

        Raises:
            Failure: A service died; the command has been ended.
        """
        return run_in_front(command, env, self._check)

    def run_until_signal(self) -> None:
        """Keeps the services until a signal ends it with `Stopped`.

        Raises:
            Failure: A service died.
        """
        while True:
            self._check()
            time.sleep(POLL_SECONDS)

    def _wait_until_serving(self) -> None:
        asked = [f"{s.name}={s.health}" for s in self._services if s.health]
        serving: queue.SimpleQueue[str] = queue.SimpleQueue()
        waiting = {s.name for s in self._services}
        with subprocess.Popen(  # noqa: S603 (a command of our own)
            [*self._prober, *asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._env,
            cwd=self._cwd,
            **own_group(),
        ) as prober:
            reader = threading.Thread(target=_read_lines, args=(prober, serving), daemon=True)
            reader.start()
            try:
                while waiting:
                    self._check()
                    failed = bool(prober.poll())
                    with contextlib.suppress(queue.Empty):
                        while True:
                            waiting.discard(serving.get_nowait())
                    if failed and waiting:
                        raise Failure(f"Waiting for the services failed: {_last_line(prober)}")
                    if waiting:
                        self._console.progress(self._progress(waiting))
                        time.sleep(POLL_SECONDS)
                self._check()
            finally:
                prober.kill()
                reader.join()

    def _progress(self, waiting: set[str]) -> str:
        first = next((r for r in reversed(self._running) if r.service.name in waiting), None)
        said = [_LOG_PREFIX.sub("", line) for line in (tail(first.log, 1) if first is not None else [])]
        return f"Starting {', '.join(sorted(waiting))}{': ' if said else ''}{''.join(said)}"

    def _check(self) -> None:
        dead = [r for r in self._running if not r.is_alive]
        if dead:
            self._console.clear()
            # One that refuses to start says more than one that missed it.
            deaths = sorted((r.death() for r in dead), key=lambda death: -death.exit_code)
            raise deaths[0]

    def _stop(self) -> None:
        # The first goes alone, so that what it still has to hand to the others arrives.
        seconds = self._drain_seconds
        try:
            stop_all(self._running[:1], seconds)
            stop_all(self._running[1:], seconds)
        finally:
            for process in self._running:
                process.kill()


def run_in_front(command: Sequence[str], env: Mapping[str, str], check: Callable[[], None] = lambda: None) -> int:
    """Runs a command on the terminal, in the folder one is in, until it ends, and returns its exit status.

    Ctrl-C is the command's own business meanwhile.

    Args:
        command: Program and arguments.
        env: Its environment.
        check: Called now and then; what it raises ends the command.
    """
    with _terminal_restored(), _interrupt_ignored():
        front = subprocess.Popen(command, env=env, **_ends_with_us())  # noqa: S603
        try:
            while front.poll() is None:
                check()
                time.sleep(POLL_SECONDS)
        finally:
            _end(front)
    return front.returncode if front.returncode >= 0 else 128 - front.returncode


def _read_lines(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    for line in process.stdout or ():
        lines.put(line.strip())


def _last_line(process: subprocess.Popen[str]) -> str:
    said = process.stderr.read().strip() if process.stderr is not None else ""
    return said.splitlines()[-1] if said else f"exit status {process.returncode}"


def _end(front: subprocess.Popen[bytes]) -> None:
    if front.poll() is None:
        front.terminate()
        try:
            front.wait(_FRONT_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            front.kill()
            front.wait()


def _ends_with_us() -> dict[str, Any]:
    # The one in front reads the terminal, so no pipe tells it that this process was killed; Linux can.
    if sys.platform != "linux":
        return {}
    import ctypes  # noqa: PLC0415 (a slow import that only Linux needs)

    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1
    return {"preexec_fn": lambda: prctl(set_parent_death_signal, signal.SIGTERM)}


@contextlib.contextmanager
def _interrupt_ignored() -> Iterator[None]:
    # A handler, not SIG_IGN: what is ignored stays ignored in the process that is started.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _terminal_restored() -> Iterator[None]:
    modes: list[Any] | None = None
    if termios is not None:
        with contextlib.suppress(termios.error, OSError, ValueError):
            modes = termios.tcgetattr(sys.stdin.fileno())
    try:
        yield
    finally:
        if termios is not None and modes is not None:
            with contextlib.suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, modes)
