"""The walls of the house: who may import what."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[3]
SERVICES = ("gateway", "inference", "memory")
OURS = {"services", "client", "deploy", "bench", "tests", "chatbot", "run"}
ONLY_IN = {
    "torch": ("services/inference/engine/*", "services/memory/embedder*"),
    "transformers": ("services/inference/engine/*", "services/memory/embedder*"),
    "sentence_transformers": ("services/memory/embedder*",),
    "sqlalchemy": ("services/memory/store*", "services/memory/migrations/*"),
    "alembic": ("services/memory/store*", "services/memory/migrations/*"),
    "llvmlite": (
        "services/kernels/*",
        "services/inference/engine/*",
        "services/memory/embedder/*",
        "services/memory/scoring/*",
    ),
    "faiss": ("services/memory/*",),
}


def imports_of(file: Path) -> Iterator[str]:
    """Yields the full name of every module a file imports, and of every name it imports from one."""
    package = file.relative_to(CHECKOUT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def python_files(folder: str) -> list[Path]:
    return sorted((CHECKOUT / folder).rglob("*.py"))


def is_under(module: str, *roots: str) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def intruders(folder: str, *allowed: str) -> list[str]:
    return [
        f"{file.relative_to(CHECKOUT)} imports {module}"
        for file in python_files(folder)
        for module in imports_of(file)
        if module.split(".")[0] in OURS and not is_under(module, *allowed)
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_what_all_share_the_generated_code_and_itself_only(service):
    assert intruders(f"services/{service}", "services.rpc", "services.kernels", "chatbot", f"services.{service}") == []


def test_rpc_knows_no_service():
    assert intruders("services/rpc", "services.rpc", "chatbot") == []


def test_kernels_know_no_service():
    assert intruders("services/kernels", "services.kernels") == []


def test_the_client_imports_the_generated_code_and_itself_only():
    assert intruders("client", "client", "chatbot") == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_heavy_library_stays_behind_its_wall(library):
    outside = [
        str(file.relative_to(CHECKOUT))
        for folder in ("services", "client", "deploy")
        for file in python_files(folder)
        if any(is_under(module, library) for module in imports_of(file))
        and not any(fnmatch(str(file.relative_to(CHECKOUT).as_posix()), place) for place in ONLY_IN[library])
    ]
    assert outside == []


def test_the_walk_sees_imports_of_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "CHECKOUT", tmp_path)
    file = tmp_path / "services" / "memory" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text("import torch.nn\nfrom .. import gateway\ndef f():\n    from services.inference.a import b\n")
    assert list(imports_of(file)) == ["torch.nn", "services.gateway", "services.inference.a.b"]
