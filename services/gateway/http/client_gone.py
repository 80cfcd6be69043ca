"""Clients that go away before they are answered: what is done for them is stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import Response

from services.gateway.http.failures import note_outcome

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request

ResultT = TypeVar("ResultT")


class ClientGone(Exception):
    """Whoever asked has gone away."""


async def while_connected(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Returns what `work` returns; cancels it where the client goes away.

    Raises:
        ClientGone: It has.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def answer_gone(request: Request, failure: Exception) -> Response:
    """Starlette's handler of `ClientGone`: an answer that nobody gets, with the status that nginx logs for it."""
    del failure
    note_outcome(request.scope, "CANCELLED")
    return Response(status_code=499)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
