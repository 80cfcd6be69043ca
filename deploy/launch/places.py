"""Where things are: the checkout, its virtual environment, the data folder, the logs, the ports."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from deploy.launch.console import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).resolve().parents[2]
LOCKS = CHECKOUT / "deploy" / "locks"
VENV = CHECKOUT / ".venv"


def venv_python(venv: Path) -> Path:
    """Returns the interpreter of a virtual environment."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def data_dir(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Returns the data folder, as the services' settings do: `CHATBOT_DATA_DIR` or the platform's user data folder."""
    if chosen := environ.get("CHATBOT_DATA_DIR"):
        return Path(chosen)
    home = Path(environ.get("HOME") or Path.home())
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "chatbot"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "chatbot"
    return Path(environ.get("XDG_DATA_HOME", "").strip() or home / ".local" / "share") / "chatbot"


def logs_dir(data: Path) -> Path:
    """Creates the folder of the logs and returns it.

    Raises:
        Failure: It cannot be created or written to.
    """
    logs = data / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        probe = logs / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as failure:
        raise Failure(
            f"The data folder {data} cannot be written to ({failure.strerror}); "
            "set CHATBOT_DATA_DIR to a folder that can.",
            exit_code=2,
        ) from None
    return logs


def open_log(path: Path) -> IO[bytes]:
    """Opens a fresh log that only its owner can read; the one before is kept as `….log.1`."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))


def chosen_port(environ: Mapping[str, str], variable: str, default: int) -> int | None:
    """Returns a service's port; 0 is any free one. None where the value is none: the service says so itself."""
    value = environ.get(variable) or str(default)
    try:
        port = int(value)
    except ValueError:
        return None
    if not 0 <= port <= 65535:
        return None
    return port or _free_port()


def reachable_host(environ: Mapping[str, str], variable: str = "CHATBOT_BIND_HOST") -> str:
    """Returns the host under which this machine reaches what is bound to the address in a variable."""
    host = environ.get(variable) or "127.0.0.1"
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)


def is_taken(host: str, port: int) -> bool:
    """Tells whether someone listens on a port already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
