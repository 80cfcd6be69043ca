"""How the programs of docs/clients are built and started."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / "docs" / "clients"
PROTOS = ROOT / "protos"
BUILD_SECONDS = 600
RUN_SECONDS = 120


def googleapis() -> Path:
    """Returns the folder that has google/rpc, as googleapis-common-protos installs it."""
    found = find_spec("google.rpc.error_details_pb2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parents[2]


@dataclass(frozen=True)
class Program:
    """A program that can be started: its command, and where and in what environment."""

    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]

    async def run(self, address: str, api_key: str) -> str:
        """Runs it to its end against a gateway and returns what it printed."""
        environment = {**self.environment, "CHATBOT_ADDRESS": address, "CHATBOT_API_KEY": api_key}
        running = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=self.folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(RUN_SECONDS):
                out, err = await running.communicate()
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
        assert running.returncode == 0, f"{out.decode()}\n{err.decode()}"
        return out.decode()


def build(language: str, folder: Path) -> Program:
    """Builds a program in a folder of its own."""
    copy = folder / language
    shutil.copytree(CLIENTS / language, copy, ignore=shutil.ignore_patterns("build", "gen", "node_modules"))
    return _BUILDS[language](copy)


def _carry_out(folder: Path, *command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.fail(f"{command[0]} is not installed: run tests/clients/install_toolchains.sh", pytrace=False)
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def _program(folder: Path, *command: str, **environment: str) -> Program:
    return Program(command, folder, {**os.environ, **environment})


def _python(folder: Path) -> Program:
    generated = folder / "gen"
    generated.mkdir()
    protos = sorted(str(proto) for proto in PROTOS.rglob("*.proto"))
    _carry_out(
        folder, sys.executable, "-m", "grpc_tools.protoc", "-I", str(PROTOS), f"--python_out={generated}",
        f"--grpc_python_out={generated}", *protos,
    )  # fmt: skip
    return _program(folder, sys.executable, "chat.py", PYTHONPATH=str(generated))


def _node(folder: Path) -> Program:
    _carry_out(folder, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
    return _program(folder, "node", "chat.js", CHATBOT_PROTOS=str(PROTOS))


def _go(folder: Path) -> Program:
    _carry_out(folder, "make", "DEBIAN=1", f"PROTOS={PROTOS}")
    return _program(folder, "build/chat")


def _java(folder: Path) -> Program:
    variables = (f"PROTOS={PROTOS}", f"GOOGLEAPIS={googleapis()}")
    _carry_out(folder, "make", *variables)
    return _program(folder, "make", "--silent", "run", *variables)


def _cpp(folder: Path) -> Program:
    _carry_out(folder, "cmake", "-S", ".", "-B", "build", f"-DPROTOS={PROTOS}", f"-DGOOGLEAPIS={googleapis()}")
    _carry_out(folder, "cmake", "--build", "build")
    return _program(folder, "build/chat")


def _ruby(folder: Path) -> Program:
    _carry_out(folder, "make", "gen", f"PROTOS={PROTOS}")
    return _program(folder, "ruby", "chat.rb")


_BUILDS: dict[str, Callable[[Path], Program]] = {
    "python": _python,
    "node": _node,
    "go": _go,
    "java": _java,
    "cpp": _cpp,
    "ruby": _ruby,
}
LANGUAGES = tuple(_BUILDS)
