"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

from services.inference.engine import control_group

_MEMINFO = Path("/proc/meminfo")
_ASSUMED = 4 << 30
"""Bytes, where the system does not tell."""


def free_bytes() -> int:
    """Returns an estimate: what the system has available, or less where a container's limit is nearer."""
    of_group = control_group.free_bytes()
    return _system_bytes() if of_group is None else min(_system_bytes(), of_group)


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
