"""`python run.py lock`: chooses versions anew and writes `deploy/locks/{cpu,cuda,dev}.txt`.

uv resolves for every platform and Python at once, against the index that pip is configured with. `cuda.txt` comes
first; `cpu.txt` is held to its versions and differs in torch alone, whose CPU build is looked for where pip's
`find-links` and extra indexes point.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import urllib.parse
import urllib.request
import venv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.launch.console import Console, Failure
from deploy.launch.lock_file import Lock, Pin, parse_lock, render_lock, requirement_names
from deploy.launch.places import LOCKS, venv_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_COMMENT = "Made by `python run.py lock` from {sources}. Not to be edited."
_LINUX_WHEEL = re.compile(
    r"-(?:cp311-cp311|cp3\d+-abi3|(?:py2\.)?py3-none)-(?:any|[^-]*manylinux[^-]*x86_64[^-]*)\.whl$"
)


def make_locks(console: Console) -> None:
    """Writes the three locks.

    Raises:
        Failure: The index cannot be reached or nothing satisfies the requirements.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        console.say("Installing uv into a temporary environment.")
        venv.create(scratch / "venv", with_pip=True, symlinks=os.name != "nt")
        python = venv_python(scratch / "venv")
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"])
        uv = [str(python), "-m", "uv"]
        options = pip_options(_run([str(python), "-m", "pip", "config", "list"]), os.environ)
        index = [f"--default-index={url}" for url in options.get("index-url", [])]
        elsewhere = [f"--find-links={place}" for place in options.get("find-links", [])]
        elsewhere += [f"--extra-index-url={url}" for url in options.get("extra-index-url", [])]
        elsewhere += ["--index-strategy=unsafe-best-match"] if elsewhere else []

        console.say("Resolving cuda.txt.")
        runtime = LOCKS / "runtime.in"
        unused = f"--override={LOCKS / 'overrides.txt'}"
        cuda = _compile(uv, scratch, [runtime], [*index, unused])
        torch = cuda.pin("torch")
        held = scratch / "held.txt"
        held.write_text("".join(f"{p.requirement}\n" for p in cuda.pins if p is not torch), encoding="utf-8")

        console.say("Resolving cpu.txt.")
        cpu_torch = scratch / "torch.in"
        cpu_torch.write_text(f"torch=={torch.version}+cpu\n", encoding="utf-8")
        cpu = _compile(uv, scratch, [runtime, cpu_torch], [*index, *elsewhere, unused, f"--constraints={held}"])
        # An extra index may hold fewer files of a version than the main one: the files of both are right.
        files = {p.requirement: p.hashes for p in cuda.pins}
        cpu = replace(cpu, pins=tuple(_with_hashes(p, files.get(p.requirement, ())) for p in cpu.pins))

        console.say("Resolving dev.txt.")
        dev = _compile(uv, scratch, [LOCKS / "dev.in"], [*index, f"--constraints={held}"])
        dev = Lock(tuple(p for p in dev.pins if not (_is_in(p, cpu) and _is_in(p, cuda))), dev.facts)

    for name, lock, sources in (("cuda", cuda, "runtime.in"), ("cpu", cpu, "runtime.in"), ("dev", dev, "dev.in")):
        (LOCKS / f"{name}.txt").write_text(render_lock(lock, [_COMMENT.format(sources=sources)]), encoding="utf-8")
        console.say(f"{name}.txt: {len(lock.pins)} packages, {lock.fact('size')}.")


def pip_options(config: str, environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns where pip looks for packages, from `pip config list` and the environment, which wins.

    Keys: `index-url`, `extra-index-url`, `find-links`.
    """
    found: dict[str, list[str]] = {}
    for key, quoted in re.findall(r"^[^.\n]+\.(index-url|extra-index-url|find-links)=(.*)$", config, re.MULTILINE):
        found[key] = " ".join(shlex.split(quoted)).split()
    for key in ("index-url", "extra-index-url", "find-links"):
        if value := environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            found[key] = value.split()
    return found


def download_size(packages: Iterable[dict[str, Any]]) -> int:
    """Returns the bytes that Linux x86-64 with Python 3.11 downloads, from the packages of a `pylock.toml`."""
    total = 0
    for package in packages:
        files = [w for w in package.get("wheels", []) if _LINUX_WHEEL.search(_file_name(w["url"]))]
        # A package may have several that fit; they differ little, and pip takes one.
        total += max((_size(file) for file in files), default=0)
    return total


def _compile(uv: Sequence[str], scratch: Path, sources: Sequence[Path], options: Sequence[str]) -> Lock:
    command = [*uv, "pip", "compile", "--quiet", "--no-header", "--python-version=3.11", *options]
    command += map(str, sources)
    output = scratch / "lock.txt"
    output.unlink(missing_ok=True)
    hide = ["--no-emit-index-url", "--no-emit-find-links"]
    _run([*command, *hide, "--universal", "--generate-hashes", f"--output-file={output}"])
    pins = [p for p in parse_lock(output.read_text(encoding="utf-8")).pins if not p.is_never_needed]
    names = {p.name for p in pins}
    pins = [replace(p, needed_by=tuple(n for n in p.needed_by if n in names)) for p in pins]

    pylock = scratch / "pylock.lock.toml"
    pylock.unlink(missing_ok=True)
    _run([*command, "--python-platform=x86_64-manylinux_2_28", "--format=pylock.toml", f"--output-file={pylock}"])
    packages = tomllib.loads(pylock.read_text(encoding="utf-8"))["packages"]
    facts = [("size", f"{round(download_size(packages) / 1e6)} MB on Linux x86-64 with Python 3.11")]
    builds = [
        _file_name(wheel["url"]).removesuffix(".whl").split("-", 2)[2]
        for package in packages
        for wheel in package.get("wheels", [])
        if package["version"].endswith("+cpu")
    ]
    if builds:
        facts.append(("torch builds", ", ".join(sorted(builds))))
    asked_for = {name.lower() for source in sources for name in requirement_names(source.read_text("utf-8"))}
    unexplained = [p.name for p in pins if not p.needed_by and p.name not in asked_for]
    if unexplained:
        raise Failure(f"uv locked packages that nothing needs: {', '.join(unexplained)}.")
    return Lock(tuple(pins), tuple(facts))


def _with_hashes(pin: Pin, more: Iterable[str]) -> Pin:
    return replace(pin, hashes=tuple(sorted({*pin.hashes, *more})))


def _is_in(pin: Pin, lock: Lock) -> bool:
    return any(p.requirement == pin.requirement for p in lock.pins)


def _file_name(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]


def _size(file: dict[str, Any]) -> int:
    if "size" in file:
        return int(file["size"])
    request = urllib.request.Request(file["url"], method="HEAD")  # noqa: S310 (the URL is the index's own)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return int(answer.headers.get("Content-Length") or 0)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (commands of our own)
    if done.returncode != 0:
        raise Failure(f"`{Path(command[0]).name} {' '.join(command[1:4])} …` failed:\n{done.stderr.strip()}")
    sys.stderr.write(done.stderr)
    return done.stdout
