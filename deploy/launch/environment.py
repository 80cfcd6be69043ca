"""The virtual environment `.venv`: made once, installed from a lock, checked in milliseconds from then on.

A stamp inside it says which interpreter and which locks it was installed from. It is taken away before anything is
changed and written when all is done, so an interrupted set-up is seen and started over.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from deploy.launch.console import Failure
from deploy.launch.lock_file import Lock, parse_lock
from deploy.launch.pip_output import InstallProgress, why_pip_failed
from deploy.launch.places import LOCKS, VENV, venv_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    from deploy.launch.console import Console

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

DEV_LOCK = "dev.txt"
_PYTHON_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a virtual environment was installed from."""

    python: str
    """Version of its interpreter: `3.11`."""
    has_driver: bool
    """Whether an NVIDIA driver was there, which decides the lock."""
    lock: str
    """File name of the runtime lock: `cpu.txt`."""
    digests: Mapping[str, str]
    """SHA-256 of each lock that is installed, by file name."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which runtime lock is taken, and what the person should know about that; empty where it is as expected."""

    lock: str
    note: str = ""


def prepare(console: Console, *, dev: bool) -> Path:
    """Makes `.venv` what the locks say, where it is not yet, and returns its interpreter.

    Args:
        console: Where progress is shown.
        dev: Whether what tests and checks need is wanted too.

    Raises:
        Failure: It cannot be set up.
    """
    if _missing(dev):
        with _alone(console):
            if missing := _missing(dev):
                _set_up(missing, console, dev=dev)
    return venv_python(VENV)


def has_nvidia_driver() -> bool:
    """Tells whether an NVIDIA driver is installed."""
    system = Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll"
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists() or system.exists()


def missing_locks(stamp: Stamp | None, *, python: str, has_driver: bool, dev: bool, locks: Path) -> list[str]:
    """Returns the locks that are still to be installed; a runtime lock that is not chosen yet is `""`."""
    if stamp is None or stamp.python != python or stamp.has_driver != has_driver:
        return ["", DEV_LOCK] if dev else [""]
    wanted = [stamp.lock, DEV_LOCK] if dev else [stamp.lock]
    return [name for name in wanted if stamp.digests.get(name) != digest(locks / name)]


def choose_lock(cpu: Lock, offered: str | None, *, cuda_size: str, platform: str = sys.platform) -> Choice:
    """Chooses the runtime lock of a machine without an NVIDIA driver.

    Args:
        cpu: The CPU lock.
        offered: `sha256:…` of the CPU build of torch that the package index offers here; None where it has none.
        cuda_size: Size of the other lock's download, for the note.
        platform: `sys.platform`.
    """
    torch = cpu.pin("torch")
    if offered in torch.hashes:
        return Choice("cpu.txt")
    if platform != "linux":
        # There the public build of torch has no CUDA libraries.
        return Choice("cuda.txt")
    version = torch.version.split("+")[0]
    return Choice(
        "cuda.txt",
        f"For this Python and machine your package index offers only the CUDA build of torch {version}, which runs "
        f"without a GPU too: about {cuda_size} are downloaded. For the small CPU build (locked for "
        f"{cpu.fact('torch builds')}) stop here, set PIP_EXTRA_INDEX_URL to PyTorch's CPU package index "
        "and start again.",
    )


def digest(path: Path) -> str:
    """Returns a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_stamp(venv: Path) -> Stamp | None:
    """Returns what a virtual environment was installed from; None where that was never finished."""
    try:
        return Stamp(**json.loads(_stamp_path(venv).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_stamp(venv: Path, stamp: Stamp) -> None:
    """Records that a virtual environment is complete."""
    _stamp_path(venv).write_text(json.dumps(asdict(stamp)), encoding="utf-8")


def _missing(dev: bool) -> list[str]:
    stamp = read_stamp(VENV) if venv_python(VENV).exists() else None
    return missing_locks(stamp, python=_PYTHON_VERSION, has_driver=has_nvidia_driver(), dev=dev, locks=LOCKS)


@contextlib.contextmanager
def _alone(console: Console) -> Iterator[None]:
    # Two first starts at once would each clear what the other installs. The lock goes with the process.
    if fcntl is None:
        yield
        return
    with (LOCKS / "runtime.in").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say("Another set-up of this checkout is under way; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _set_up(missing: Sequence[str], console: Console, *, dev: bool) -> None:
    python = venv_python(VENV)
    driver = has_nvidia_driver()
    stamp = read_stamp(VENV)
    if stamp is not None and missing == [DEV_LOCK]:
        console.say("Installing what tests and checks need.")
        _stamp_path(VENV).unlink()
        _install(python, missing, console)
        write_stamp(VENV, replace(stamp, digests={**stamp.digests, DEV_LOCK: digest(LOCKS / DEV_LOCK)}))
        return
    console.say(f"Setting up {VENV} (this is done once).")
    _create_venv()
    choice = Choice("cuda.txt") if driver else _choose_without_driver(python)
    if choice.note:
        console.say(choice.note)
    elif sys.platform == "linux":
        console.say(f"About {_size(choice.lock)} are downloaded, less what pip has in its cache.")
    locks = [choice.lock, *([DEV_LOCK] if dev else [])]
    _install(python, locks, console)
    write_stamp(VENV, Stamp(_PYTHON_VERSION, driver, choice.lock, {name: digest(LOCKS / name) for name in locks}))


def _stamp_path(venv: Path) -> Path:
    return venv / "installed.json"


def _create_venv() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Failure(
            f"This Python {_PYTHON_VERSION} comes without venv and pip; install them "
            f"(on Debian and Ubuntu the package python{_PYTHON_VERSION}-venv) and start again.",
            exit_code=2,
        )
    # From inside a virtual environment the new one is made by the interpreter below it: it may be replacing itself.
    interpreter: str = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run(  # noqa: S603 (a command of our own)
        [interpreter, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no reason given"]
        raise Failure(f"{VENV} cannot be created: {lines[-1]}")


def _choose_without_driver(python: Path) -> Choice:
    cpu = _read_lock("cpu.txt")
    offered = _offered_hash(python, cpu.pin("torch").requirement)
    return choose_lock(cpu, offered, cuda_size=_size("cuda.txt"))


def _read_lock(name: str) -> Lock:
    return parse_lock((LOCKS / name).read_text(encoding="utf-8"))


def _size(name: str) -> str:
    return _read_lock(name).fact("size").partition(" on ")[0]


def _offered_hash(python: Path, requirement: str) -> str | None:
    # Asked by its full version, the CPU build is all that pip can find: the CUDA build's gigabytes are never fetched.
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [*_pip(python), "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--only-binary=:all:", f"--report={report}", requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (a command of our own)
        if done.returncode != 0:
            reason = why_pip_failed((done.stdout + done.stderr).splitlines())
            if reason.is_network or "No matching distribution" not in reason.sentence:
                raise Failure(reason.sentence)
            return None
        return hash_offered(json.loads(report.read_text(encoding="utf-8"))["install"][0]["download_info"])


def hash_offered(download: dict[str, Any]) -> str | None:
    """Returns the hash of what pip would install, as a lock has it; None where that cannot be told.

    Args:
        download: The `download_info` of pip's report. It tells no hash of a file in a folder of wheels.
    """
    told = download["archive_info"].get("hashes", {}).get("sha256")
    url = urlsplit(download["url"])
    if told is None and url.scheme == "file":
        with Path(url2pathname(url.path)).open("rb") as wheel:
            told = hashlib.file_digest(wheel, "sha256").hexdigest()
    return None if told is None else f"sha256:{told}"


def _install(python: Path, locks: Sequence[str], console: Console) -> None:
    # pip compiles no bytecode here: Python does so for the modules it imports, which are few of them.
    command = [*_pip(python), "install", "--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"]
    command += ["--no-warn-script-location", f"--progress-bar={'raw' if _pip_version(VENV) >= (24, 1) else 'off'}"]
    command += [f"--requirement={LOCKS / name}" for name in locks]
    total = sum(len(_read_lock(name).pins) for name in locks)
    progress = InstallProgress(total)
    log_path = VENV / "install.log"
    with (
        log_path.open("w", encoding="utf-8") as log,
        subprocess.Popen(  # noqa: S603 (a command of our own)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as pip,
    ):
        lines: list[str] = []
        try:
            for line in pip.stdout or ():
                if not line.startswith("Progress "):
                    lines.append(line.rstrip())
                    log.write(line)
                console.progress(progress.after(line))
        except BaseException:
            pip.terminate()
            raise
    console.clear()
    if pip.returncode != 0:
        raise Failure(f"{why_pip_failed(lines).sentence}\nAll that pip said is in {log_path}.")


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]


def _pip_version(venv: Path) -> tuple[int, ...]:
    for folder in venv.glob("[Ll]ib/**/site-packages/pip-*.dist-info"):
        return tuple(int(part) for part in folder.name.split("-")[1].split(".")[:2] if part.isdigit())
    return (0,)
