"""What Linux lets the groups that this process belongs to have: of a container, a pod, a unit of systemd (cgroups(7)).

A group's limit holds for all below it, so those above this process's own count too. Both versions are read; elsewhere
than on Linux, and where nothing can be read, there is no limit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTED = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cpu_limit() -> float | None:
    """Returns how many processors' time all threads together may take; None: as much as there is."""
    limits: list[float] = []
    for folder in _folders("cpu"):
        try:
            quota, period = _quota_and_period(folder)
        except (OSError, ValueError):  # no such limit, or the word `max`
            continue
        if quota > 0 and period > 0:
            limits.append(quota / period)
    return min(limits, default=None)


def free_bytes() -> int | None:
    """Returns how much more memory may be taken; None: as much as there is.

    What is kept of files does not count as taken: it is given up before anything else.
    """
    limits: list[int] = []
    for folder in _folders("memory"):
        try:
            most, used, files = _memory(folder)
        except (OSError, ValueError):
            continue
        limits.append(max(0, most - max(0, used - files)))
    return min(limits, default=None)


def _quota_and_period(folder: Path) -> tuple[int, int]:
    """Returns microseconds: in each period so many may be computed, by all processors together."""
    if (folder / "cpu.max").exists():
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota), int(period)
    return _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")


def _memory(folder: Path) -> tuple[int, int, int]:
    """Returns bytes: the most, those in use, and those of them that are files' and were not read lately."""
    if (folder / "memory.max").exists():
        names = "memory.max", "memory.current", "inactive_file"
    else:
        names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    most, used, files = names
    statistics = (folder / "memory.stat").read_text(encoding="ascii").split()
    kept = int(statistics[statistics.index(files) + 1]) if files in statistics else 0
    return _number(folder / most), _number(folder / used), kept


def _folders(controller: str) -> Iterator[Path]:
    """Yields those of this process's groups for what is controlled, from its own to the outermost that can be seen."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:  # version 2
            outermost = _MOUNTED
        elif controller in controllers.split(","):
            outermost = _MOUNTED / controller
        else:
            continue
        # A container may be told its path on its host, where what it sees begins further in: then only that is there.
        own = outermost / path.lstrip("/")
        yield own
        while own != outermost:
            own = own.parent
            yield own


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))
