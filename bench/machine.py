"""Where and with what a run is made."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from bench.result import Machine

CHECKOUT = Path(__file__).parents[1]


def this_machine() -> Machine:
    """Describes the machine."""
    return Machine(
        cpu=_cpu_model(),
        cores=cores(),
        memory_bytes=psutil.virtual_memory().total,
        os=_os_name(),
    )


def cores() -> int:
    """Returns how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slug(machine: Machine) -> str:
    """Returns a machine's name for file names: `amd-epyc-2c`."""
    words = re.sub(r"\(.*?\)|@.*|\bCPU\b|\bProcessor\b|\d+-Core", " ", machine.cpu)
    return "-".join([*re.findall(r"[a-z0-9]+", words.lower()), f"{machine.cores}c"])


def commit() -> str:
    """Returns the checkout's commit, with `+changes` where tracked files differ from it; `unknown` without git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions(*packages: str) -> dict[str, str]:
    """Returns the versions of Python and of those packages that are installed for this interpreter."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def versions_for(interpreter: Path, *packages: str) -> dict[str, str]:
    """As `versions`, for another interpreter, of which Python itself is left out."""
    ask = "import sys, importlib.metadata as m\nfor p in sys.argv[1:]:\n print(p, m.version(p))"
    found: dict[str, str] = {}
    for package in packages:
        answer = subprocess.run(  # noqa: S603 (a command of our own)
            [str(interpreter), "-c", ask, package], check=False, capture_output=True, text=True, timeout=60
        )
        if answer.returncode == 0:
            name, version = answer.stdout.split()
            found[name] = version
    return found


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 (a command of our own)
        ["git", *arguments],  # noqa: S607 (whichever git is installed)
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout.strip()


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", listing.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _os_name() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.release()}"
