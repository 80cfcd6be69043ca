"""The virtual environment of the measurements: peers and the plotting library, apart from what services run on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements.txt"
_VENV = _HERE / ".venv"
_PYTHON = _VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
_STAMP = _VENV / "requirements.sha256"
_INSTALL_SECONDS = 1200.0


class NotInstalled(Exception):
    """The environment cannot be made. The message says why."""


def installed() -> bool:
    """Tells whether the environment is what the requirements ask for."""
    return _PYTHON.exists() and _STAMP.exists() and _STAMP.read_text(encoding="utf-8") == _wanted()


def interpreter() -> Path:
    """Returns the environment's interpreter, making the environment where it is not what the requirements ask for.

    Raises:
        NotInstalled: It cannot be made.
    """
    if not installed():
        _run(sys.executable, "-m", "venv", "--clear", str(_VENV))
        _run(str(_PYTHON), "-m", "pip", "install", "--quiet", "--requirement", str(_REQUIREMENTS))
        _STAMP.write_text(_wanted(), encoding="utf-8")
    return _PYTHON


def _wanted() -> str:
    return hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (commands of our own)
            command, check=False, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"it took longer than {_INSTALL_SECONDS:.0f} s to install") from None
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or ["pip failed"])[-1])
