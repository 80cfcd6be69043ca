"""Work on another thread that is seen through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")
T = TypeVar("T")


async def off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a function on a thread, and has returned only when it has ended, also where the caller is cancelled.

    For work on something that a lock of the caller's protects: `asyncio.to_thread` alone would release the lock
    while the thread is still at it.
    """
    return await seen_through(asyncio.to_thread(function, *args, **kwargs))


async def seen_through(call: Awaitable[T]) -> T:
    """Awaits a call, and has returned only when it has ended, also where the caller is cancelled."""
    work = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
