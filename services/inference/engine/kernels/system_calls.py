"""Addresses of what compiled code calls of the system."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SystemCalls:
    """Addresses of functions."""

    give_way: int
    """Without arguments: lets other threads run."""
    read: int
    """As POSIX has it: `(file, buffer, size)`."""
    write: int
    """As POSIX has it."""


def find_system_calls() -> SystemCalls:
    """Finds them in the C library."""
    if sys.platform == "win32":
        kernel, library = ctypes.WinDLL("kernel32"), ctypes.CDLL("ucrtbase")
        return SystemCalls(_address(kernel.SwitchToThread), _address(library._read), _address(library._write))  # noqa: SLF001 - their names
    library = ctypes.CDLL(None)
    return SystemCalls(_address(library.sched_yield), _address(library.read), _address(library.write))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
