"""Programs that compute beside whoever is measured, as on a machine that people also work with."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPUTE = "while True: pass"


@contextmanager
def other_programs(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Runs so many, each of which would have a processor for itself, and ends them afterwards."""
    programs: list[subprocess.Popen[bytes]] = []
    with ExitStack() as running:
        for _ in range(count):
            command = [sys.executable, "-c", _COMPUTE]
            program = running.enter_context(subprocess.Popen(command))  # noqa: S603 (a command of our own)
            running.callback(program.kill)
            programs.append(program)
        yield programs
