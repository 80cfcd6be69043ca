"""How far a command has come: a bar where standard error is a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text
from typing_extensions import override

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Task, TaskID

_PLAIN_INTERVAL_SECONDS = 10.0


class _Rate(ProgressColumn):
    """What is done a second."""

    @override
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class Steps:
    """Counts steps for as long as it is entered.

    Args:
        what: What is being done.
        total: How many steps that takes; None: not known.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._began = self._said = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Steps:
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """Notes that steps were made. Any thread may call it."""
        self._done += steps
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._said >= _PLAIN_INTERVAL_SECONDS:
            self._said = time.monotonic()
            of = "" if self._total is None else f" of {self._total}"
            rate = self._done / max(1e-9, self._said - self._began)
            say(f"{self._what}: {self._done}{of}, {rate:.1f} a second")


def say(text: str) -> None:
    """Writes a line to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def counted(number: int, what: str) -> str:
    """Returns `1 message`, `2 messages`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
