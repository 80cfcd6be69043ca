"""The virtual environment: which lock it takes, and when it has to be installed anew."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING

import pytest

from deploy.launch import environment
from deploy.launch.console import Failure
from deploy.launch.environment import (
    DEV_LOCK,
    Stamp,
    choose_lock,
    digest,
    missing_locks,
    read_stamp,
    write_stamp,
)
from deploy.launch.lock_file import parse_lock

if TYPE_CHECKING:
    from pathlib import Path

CPU = parse_lock(
    "# torch builds: cp311-cp311-linux_x86_64\n\n"
    f"torch==2.13.0+cpu \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
)


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    for name in ("cpu.txt", "cuda.txt", DEV_LOCK):
        (tmp_path / name).write_text(name)
    return tmp_path


def stamp(locks: Path, *names: str) -> Stamp:
    return Stamp("3.11", False, "cpu.txt", {name: digest(locks / name) for name in names})


def missing(stamp: Stamp | None, locks: Path, *, python: str = "3.11", driver: bool = False, dev: bool = False):
    return missing_locks(stamp, python=python, has_driver=driver, dev=dev, locks=locks)


def test_the_cpu_lock_is_taken_where_the_index_offers_the_locked_cpu_build():
    assert choose_lock(CPU, f"sha256:{'b' * 64}", cuda_size="3 GB", platform="linux").lock == "cpu.txt"


@pytest.mark.parametrize("offered", [None, f"sha256:{'c' * 64}"])
def test_without_the_locked_cpu_build_the_other_lock_is_taken_and_its_size_told(offered):
    choice = choose_lock(CPU, offered, cuda_size="3 GB", platform="linux")
    assert choice.lock == "cuda.txt"
    for told in ("2.13.0", "about 3 GB", "PIP_EXTRA_INDEX_URL", "cp311-cp311-linux_x86_64"):
        assert told in choice.note


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_the_public_build_has_no_cuda_nothing_needs_to_be_told(platform):
    choice = choose_lock(CPU, None, cuda_size="3 GB", platform=platform)
    assert (choice.lock, choice.note) == ("cuda.txt", "")


def test_nothing_is_installed_where_nothing_changed(locks):
    assert missing(stamp(locks, "cpu.txt"), locks) == []
    assert missing(stamp(locks, "cpu.txt", DEV_LOCK), locks, dev=True) == []


def test_an_unfinished_environment_is_started_over(locks):
    assert missing(None, locks) == [""]
    assert missing(None, locks, dev=True) == ["", DEV_LOCK]


def test_another_python_or_a_new_driver_starts_over(locks):
    complete = stamp(locks, "cpu.txt", DEV_LOCK)
    assert missing(complete, locks, python="3.12") == [""]
    assert missing(complete, locks, driver=True) == [""]


def test_a_changed_runtime_lock_is_installed_anew(locks):
    complete = stamp(locks, "cpu.txt", DEV_LOCK)
    (locks / "cpu.txt").write_text("changed")
    assert missing(complete, locks) == ["cpu.txt"]


def test_the_dev_lock_is_added_to_what_is_there(locks):
    assert missing(stamp(locks, "cpu.txt"), locks, dev=True) == [DEV_LOCK]


def test_a_changed_dev_lock_does_not_concern_who_only_chats(locks):
    complete = stamp(locks, "cpu.txt", DEV_LOCK)
    (locks / DEV_LOCK).write_text("changed")
    assert missing(complete, locks) == []
    assert missing(complete, locks, dev=True) == [DEV_LOCK]


def test_a_stamp_is_read_as_it_was_written(tmp_path, locks):
    written = stamp(locks, "cpu.txt", DEV_LOCK)
    write_stamp(tmp_path, written)
    assert read_stamp(tmp_path) == written


@pytest.mark.parametrize("content", ["", "{", "[]", '{"python": "3.11"}', "null"])
def test_a_damaged_stamp_counts_as_none(tmp_path, content):
    (tmp_path / "installed.json").write_text(content)
    assert read_stamp(tmp_path) is None


def pip_that(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(environment, "_pip", lambda _python: [sys.executable, "-c", script])


def offered() -> str | None:
    return environment._offered_hash(environment.VENV, "torch==2.13.0+cpu")


def test_the_hash_that_the_index_offers_is_read_from_pips_report(monkeypatch):
    report = {
        "install": [
            {"download_info": {"url": "https://example.org/torch.whl", "archive_info": {"hashes": {"sha256": "abc"}}}}
        ]
    }
    find = "[a for a in sys.argv if a.startswith('--report=')][0].partition('=')[2]"
    pip_that(monkeypatch, f"import sys; open({find}, 'w').write({json.dumps(report)!r})")
    assert offered() == "sha256:abc"


def test_a_build_that_the_index_does_not_have_is_not_offered(monkeypatch):
    pip_that(monkeypatch, "import sys; sys.exit('ERROR: No matching distribution found for torch==2.13.0+cpu')")
    assert offered() is None


@pytest.mark.parametrize("said", ["NewConnectionError\nERROR: No matching distribution found", "ERROR: broken"])
def test_a_question_that_was_not_answered_is_no_answer(monkeypatch, said):
    pip_that(monkeypatch, f"import sys; sys.exit({said!r})")
    with pytest.raises(Failure):
        offered()


def test_a_wheel_in_a_folder_of_wheels_is_hashed_here_for_pip_tells_no_hash_of_it(tmp_path: Path):
    wheel = tmp_path / "a wheel.whl"
    wheel.write_bytes(b"wheel")
    told = environment.hash_offered({"url": wheel.as_uri(), "archive_info": {}})
    assert told == f"sha256:{hashlib.sha256(b'wheel').hexdigest()}"
    assert environment.hash_offered({"url": "https://example.org/torch.whl", "archive_info": {}}) is None
