"""A lock that one process holds on a file, and that the system releases when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class ProcessLock:
    """Holds the lock from construction until `release`.

    Raises:
        BlockingIOError: Another process holds it, or this one already does.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._descriptor)
        except OSError as failure:
            os.close(self._descriptor)
            raise BlockingIOError(str(path)) from failure

    def release(self) -> None:
        """Releases the lock. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._descriptor)
