"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_ASSUMED = 4 << 30
"""Bytes, where the system does not tell."""


def free_bytes() -> int:
    """Returns an estimate: what the system has available, or less where a container's limit is nearer."""
    return min(_system_bytes(), _container_bytes())


def _system_bytes() -> int:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        # Not Linux: half of what the machine has.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError):
        return _ASSUMED


def _container_bytes() -> int:
    try:
        most, used = (int((_CGROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such limit, or the word `max`
        return 1 << 62
    return max(0, most - used)
