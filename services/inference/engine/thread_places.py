"""Keeps threads that compute together on processors of their own.

Those that wait offer their processor rather than sleep. Where other programs run, too, a system can leave two of them
on one processor, and a step then takes twice as long. Nothing is pinned: the system moves them as before.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 0.25
"""Between two looks."""
_PROCESSOR = 36
"""Place in `/proc/…/stat` after the thread's name: the processor it ran on last (proc(5))."""


class ThreadPlaces:
    """Looks now and then where threads run. Without effect where the system is not Linux.

    Args:
        threads: Their numbers, as the system has them.
    """

    def __init__(self, threads: Sequence[int]) -> None:
        self._threads = tuple(threads)
        self._due = 0.0

    def look(self) -> None:
        """Parts threads that share a processor while another is free, at most four times a second."""
        now = time.monotonic()
        if now < self._due or not hasattr(os, "sched_setaffinity"):
            return
        self._due = now + _SECONDS
        taken: set[int] = set()
        for thread in self._threads:
            try:
                processor = _processor(thread)
                allowed = os.sched_getaffinity(thread)
                free = allowed - taken
                if processor in taken and free:
                    os.sched_setaffinity(thread, free)
                    os.sched_setaffinity(thread, allowed)
                    processor = _processor(thread)
            except OSError:
                # It has ended, or the system does not let its threads be moved.
                continue
            taken.add(processor)


def _processor(thread: int) -> int:
    stat = Path(f"/proc/self/task/{thread}/stat").read_text(encoding="ascii", errors="replace")
    return int(stat.rpartition(")")[2].split()[_PROCESSOR])
