"""What compiled code calls of the system."""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from typing import Any

_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
"""Number of Linux's call by which threads sleep and wake each other, futex(2), by processor."""


@dataclass(frozen=True, slots=True)
class Futex:
    """Addresses of what Linux has for threads that sleep until a number in memory changes."""

    syscall: int
    """The C library's function of that name."""
    number: int
    """Of the call, which it takes."""
    clock_gettime: int
    """As POSIX has it."""


@dataclass(frozen=True, slots=True)
class SystemCalls:
    """Addresses of functions."""

    give_way: int
    """Without arguments: lets other threads run."""
    read: int
    """As POSIX has it: `(file, buffer, size)`."""
    write: int
    """As POSIX has it."""
    futex: Futex | None
    """None: the system has none that is known here."""


def find_system_calls() -> SystemCalls:
    """Finds them in the C library."""
    if sys.platform == "win32":
        kernel, library = ctypes.WinDLL("kernel32"), ctypes.CDLL("ucrtbase")
        own = _address(library._read), _address(library._write)  # noqa: SLF001 - their names
        return SystemCalls(_address(kernel.SwitchToThread), *own, futex=None)
    library = ctypes.CDLL(None)
    number = _FUTEX.get(platform.machine()) if sys.platform == "linux" else None
    futex = None if number is None else Futex(_address(library.syscall), number, _address(library.clock_gettime))
    return SystemCalls(_address(library.sched_yield), _address(library.read), _address(library.write), futex)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
