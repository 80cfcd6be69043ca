"""The estimate of free memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.inference.engine import memory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  4000 kB\nMemAvailable:  2000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory.control_group, "free_bytes", lambda: None)


def test_it_is_what_the_system_has_available():
    assert memory.free_bytes() == 2000 * 1024


@pytest.mark.parametrize(("of_group", "free"), [(400_000, 400_000), (0, 0), (1 << 40, 2000 * 1024)])
def test_a_containers_nearer_limit_counts(monkeypatch: pytest.MonkeyPatch, of_group: int, free: int):
    monkeypatch.setattr(memory.control_group, "free_bytes", lambda: of_group)
    assert memory.free_bytes() == free


def test_a_system_without_meminfo_tells_of_half_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}.__getitem__)
    assert memory.free_bytes() == 5 * 4096
