"""Virtual environments of the measurements: peers and the plotting library, apart from what services run on.

Each belongs to a folder: `.venv` there is made from the `requirements.txt` beside it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_PYTHON = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")
_INSTALL_SECONDS = 1200.0


class NotInstalled(Exception):
    """The environment cannot be made. The message says why."""


def installed(folder: Path = _HERE) -> bool:
    """Tells whether a folder's environment is what its requirements ask for."""
    stamp = _stamp(folder)
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _wanted(folder)


def interpreter(folder: Path = _HERE) -> Path:
    """Returns the environment's interpreter, making the environment where it is not what the requirements ask for.

    Raises:
        NotInstalled: It cannot be made.
    """
    python = folder / ".venv" / _PYTHON
    if not installed(folder):
        _run(sys.executable, "-m", "venv", "--clear", str(folder / ".venv"))
        _run(str(python), "-m", "pip", "install", "--quiet", "--requirement", str(folder / "requirements.txt"))
        _stamp(folder).write_text(_wanted(folder), encoding="utf-8")
    return python


def _stamp(folder: Path) -> Path:
    return folder / ".venv" / "requirements.sha256"


def _wanted(folder: Path) -> str:
    return hashlib.sha256((folder / "requirements.txt").read_bytes()).hexdigest()


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (commands of our own)
            command, check=False, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"it took longer than {_INSTALL_SECONDS:.0f} s to install") from None
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or ["pip failed"])[-1])
