"""The locks: complete, hashed, free of places, and equal but for torch."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from deploy.launch.lock_file import Lock, Pin, parse_lock, render_lock, requirement_names, select
from deploy.launch.make_locks import download_size, pip_options
from deploy.launch.places import CHECKOUT, LOCKS
from deploy.service_requirements import service_lock

SERVICES = ("gateway", "inference", "memory")
ONLY_THE_CLIENT = {"typer", "prompt-toolkit", "wcwidth"}


def lock(name: str):
    return parse_lock((LOCKS / f"{name}.txt").read_text(encoding="utf-8"))


def names_in(file: str) -> set[str]:
    return set(requirement_names((LOCKS / file).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["cpu", "cuda", "dev"])
def test_every_locked_package_has_hashes_and_a_platform_that_needs_it(name):
    pins = lock(name).pins
    assert pins
    assert all(pin.hashes and not pin.is_never_needed for pin in pins)


@pytest.mark.parametrize("name", ["cpu", "cuda", "dev"])
def test_a_lock_names_no_place_to_download_from(name):
    text = (LOCKS / f"{name}.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|^--|/opt|/home|/tmp", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_what_is_asked_for_is_locked_and_what_would_run_the_embedded_model_otherwise_is_not(name):
    locked = {pin.name for pin in lock(name).pins}
    assert names_in("runtime.in") <= locked
    assert not {"llm", "llama-cpp-python"} & locked


def test_the_runtime_locks_differ_in_torch_and_its_libraries_only():
    cpu = {pin.name: pin.version for pin in lock("cpu").pins}
    cuda = {pin.name: pin.version for pin in lock("cuda").pins}
    differing = {name for name in cpu | cuda if cpu.get(name) != cuda.get(name)}
    assert differing == {n for n in cuda if re.match(r"torch$|triton$|nvidia-|cuda-", n)}
    assert (cpu["torch"], cuda["torch"]) == ("2.13.0+cpu", "2.13.0")


def test_the_dev_lock_adds_to_the_runtime_locks_without_contradicting_them():
    dev = {pin.requirement for pin in lock("dev").pins}
    for runtime in (lock("cpu"), lock("cuda")):
        assert not dev & {pin.requirement for pin in runtime.pins}
    versions = {pin.name: pin.version for pin in lock("cpu").pins}
    assert all(versions.get(pin.name, pin.version) == pin.version for pin in lock("dev").pins)
    assert names_in("dev.in") <= {pin.name for pin in lock("dev").pins} | set(versions)


@pytest.mark.parametrize("name", ["cpu", "cuda", "dev"])
def test_a_lock_states_the_size_of_its_download(name):
    assert re.match(r"\d+ MB on Linux", lock(name).fact("size"))


def test_the_services_needs_are_those_of_the_whole_without_the_terminal():
    needed = set().union(*(names_in(f"{service}.in") for service in SERVICES))
    assert needed == names_in("runtime.in") - ONLY_THE_CLIENT


def test_the_gateways_image_has_no_torch():
    assert "torch" not in {pin.name for pin in service_lock("gateway", "cpu").pins}


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_image_holds_all_that_its_code_imports(service):
    shipped = {pin.name for pin in service_lock(service, "cpu").pins}
    distributions = importlib.metadata.packages_distributions()
    for folder in ("services/rpc", f"services/{service}"):
        for file in (CHECKOUT / folder).rglob("*.py"):
            for module in _modules(file):
                if module.split(".")[0] in {*sys.stdlib_module_names, "services", "chatbot"}:
                    continue
                sources = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions.get(module.split(".")[0], [])}
                assert sources & shipped, f"{file} imports {module}, which no locked package of its image brings"


def test_a_lock_is_read_as_it_is_written():
    text = (LOCKS / "cpu.txt").read_text(encoding="utf-8")
    comment = [line.removeprefix("# ") for line in text.splitlines()[:1]]
    assert render_lock(parse_lock(text), comment) == text


def test_uvs_own_form_is_read():
    read = parse_lock(
        "click==8.5.1 ; sys_platform == 'win32' \\\n"
        f"    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
        "    # via\n    #   -r runtime.in\n    #   huggingface-hub\n    #   llm\n"
        f"colorama==0.4.6 \\\n    --hash=sha256:{'c' * 64}\n    # via click\n"
    )
    assert read.pins == (
        Pin(
            "click",
            "8.5.1",
            "sys_platform == 'win32'",
            (f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"),
            ("huggingface-hub", "llm"),
        ),
        Pin("colorama", "0.4.6", "", (f"sha256:{'c' * 64}",), ("click",)),
    )


@pytest.mark.parametrize(
    ("marker", "never"),
    [
        ("", False),
        ("sys_platform == 'never'", True),
        ("(python_version > '3' and sys_platform == 'never') or (sys_platform == 'never' and x == 'y')", True),
        ("sys_platform == 'win32' or sys_platform == 'never'", False),
    ],
)
def test_a_marker_that_no_platform_satisfies_is_recognised(marker, never):
    assert Pin("x", "1", marker, (), ()).is_never_needed is never


def test_a_selection_goes_all_the_way_down():
    pins = [Pin(name, "1", "", (), via) for name, via in (("a", ()), ("b", ("a",)), ("c", ("b", "x")), ("x", ()))]
    whole = Lock(tuple(pins))
    assert [pin.name for pin in select(whole, ["a"]).pins] == ["a", "b", "c"]
    with pytest.raises(KeyError):
        select(whole, ["missing"])


def test_requirements_are_read_by_their_names():
    assert requirement_names("# note\nsqlalchemy[asyncio]\ntorch==2.13.0\nx ; python_version < '4'\n") == [
        "sqlalchemy",
        "torch",
        "x",
    ]


def test_the_places_that_pip_looks_at_are_read_and_the_environment_wins():
    config = (
        "global.index-url='https://a.invalid/simple'\n"
        "global.extra-index-url='https://b.invalid/simple https://c.invalid/simple'\n"
        "global.timeout='5'\n"
    )
    assert pip_options(config, {"PIP_FIND_LINKS": "/wheels", "PIP_INDEX_URL": "https://d.invalid/simple"}) == {
        "index-url": ["https://d.invalid/simple"],
        "extra-index-url": ["https://b.invalid/simple", "https://c.invalid/simple"],
        "find-links": ["/wheels"],
    }


def test_the_download_counts_one_file_a_package_for_linux(tmp_path: Path):
    local = tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    local.write_bytes(b"12345")
    packages = [
        {
            "wheels": [
                {"url": "https://x.invalid/a-1-cp311-cp311-manylinux_2_28_x86_64.whl", "size": 100},
                {"url": "https://x.invalid/a-1-cp311-cp311-musllinux_1_2_x86_64.whl", "size": 1000},
                {"url": "https://x.invalid/a-1-cp313-cp313-manylinux_2_28_x86_64.whl", "size": 1000},
                {"url": "https://x.invalid/a-1-cp311-cp311-win_amd64.whl", "size": 1000},
            ]
        },
        {"wheels": [{"url": "https://x.invalid/b-1-py3-none-any.whl", "size": 10}]},
        {"wheels": [{"url": local.as_uri()}]},
    ]
    assert download_size(packages) == 115


def _modules(file: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module or "")
    return found
