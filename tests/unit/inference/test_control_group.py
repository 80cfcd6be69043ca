"""Limits of a container are found, whichever way Linux tells of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.inference.engine import control_group, loader

MOUNTED = Path("/sys/fs/cgroup")
OWN_QUOTA = """
from services.inference.engine import control_group, loader
print(control_group.cpu_limit(), loader._usable_cpus())
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(control_group, "_MOUNTED", tmp_path / "mounted")
    monkeypatch.setattr(control_group, "_MEMBERSHIP", tmp_path / "membership")
    return tmp_path / "mounted"


def belongs_to(mounted: Path, *lines: str) -> None:
    (mounted.parent / "membership").write_text("".join(f"{line}\n" for line in lines))


def write(folder: Path, **numbers: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in numbers.items():
        (folder / name.replace("__", ".")).write_text(f"{number}\n")


def test_where_nothing_is_told_there_is_no_limit(mounted: Path):
    assert control_group.cpu_limit() is None
    belongs_to(mounted, "0::/", "4:cpu,cpuacct:/a", "not of this form")
    assert control_group.cpu_limit() is None
    assert control_group.free_bytes() is None


@pytest.mark.parametrize(("line", "limit"), [("150000 100000", 1.5), ("max 100000", None)])
def test_processor_time_of_a_container(mounted: Path, line: str, limit: float | None):
    belongs_to(mounted, "0::/")
    write(mounted, cpu__max=line)
    assert control_group.cpu_limit() == limit


def test_the_nearest_limit_of_the_groups_above_counts(mounted: Path):
    belongs_to(mounted, "0::/chat.slice/inference.service")
    write(mounted / "chat.slice/inference.service", cpu__max="400000 100000", memory__max="max")
    write(mounted / "chat.slice", cpu__max="200000 100000", memory__max="5000", memory__current="2000", memory__stat="")
    assert control_group.cpu_limit() == 2.0
    assert control_group.free_bytes() == 3000


@pytest.mark.parametrize(("quota", "limit"), [("50000", 0.5), ("-1", None)])
def test_processor_time_as_version_1_tells_it(mounted: Path, quota: str, limit: float | None):
    belongs_to(mounted, "0::/", "5:cpu,cpuacct:/docker/4f0a")
    # In the container the group is the outermost one, whatever it is called outside.
    write(mounted / "cpu", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert control_group.cpu_limit() == limit


def test_what_is_kept_of_files_does_not_count_as_taken(mounted: Path):
    belongs_to(mounted, "0::/")
    write(mounted, memory__max="9000", memory__current="8000", memory__stat="anon 3000\nfile 5000\ninactive_file 4000")
    assert control_group.free_bytes() == 5000


def test_memory_as_version_1_tells_it(mounted: Path):
    belongs_to(mounted, "7:memory:/docker/4f0a")
    statistics = "inactive_file 1\ntotal_inactive_file 500"
    limits = {"memory__limit_in_bytes": "9000", "memory__usage_in_bytes": "8000", "memory__stat": statistics}
    write(mounted / "memory", **limits)
    assert control_group.free_bytes() == 1500


def test_more_in_use_than_there_may_be_leaves_nothing(mounted: Path):
    belongs_to(mounted, "0::/")
    write(mounted, memory__max="500000", memory__current="600000", memory__stat="inactive_file 0")
    assert control_group.free_bytes() == 0


@pytest.mark.parametrize(("limit", "threads"), [(None, 8), (2.9, 2), (0.3, 1), (64.0, 8)])
def test_as_many_threads_compute_as_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, threads: int
):
    monkeypatch.setattr(loader.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(control_group, "cpu_limit", lambda: limit)
    assert loader._usable_cpus() == threads


def _real_group() -> Path | None:
    """Returns a folder for a new group that may be limited, where the system lets this process have one."""
    if (MOUNTED / "cpu" / "cgroup.procs").exists():
        outer = MOUNTED / "cpu"
    elif (MOUNTED / "cgroup.subtree_control").exists() and "cpu" in (MOUNTED / "cgroup.subtree_control").read_text():
        outer = MOUNTED
    else:
        return None
    return outer / f"chatbot-test-{os.getpid()}" if os.access(outer, os.W_OK) else None


@pytest.mark.skipif(sys.platform != "linux" or _real_group() is None, reason="needs the right to make a control group")
def test_a_process_finds_the_limit_that_linux_holds_it_to():
    group = _real_group()
    assert group is not None
    group.mkdir()
    try:
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text("120000 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text("120000")
        enter = f'echo $$ > {group / "cgroup.procs"} && exec "$0" -c "$1"'
        told = subprocess.run(
            ["sh", "-c", enter, sys.executable, OWN_QUOTA], check=True, capture_output=True, text=True
        ).stdout
    finally:
        group.rmdir()
    assert told.split() == ["1.2", "1"]
