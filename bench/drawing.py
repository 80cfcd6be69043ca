"""Has a result drawn by the interpreter that has the plotting library: the measurements' own may lack it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from bench import machine, venv
from bench.progress import tell

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 120.0


def draw(result: Path, program: str) -> None:
    """Draws a result's plots beside it, or tells why there are none.

    Args:
        result: The file.
        program: The module that draws results of its kind, such as `bench.plots`.
    """
    try:
        python = venv.interpreter()
    except venv.NotInstalled as reason:
        tell(f"no plots: {reason}")
        return
    command = [str(python), "-m", program, str(result.resolve())]
    subprocess.run(command, cwd=machine.CHECKOUT, check=True, timeout=_SECONDS)  # noqa: S603 (a command of our own)
