"""The outermost middleware: every request ends with an answer of ours, one log line and its metrics."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from services.gateway.http.failures import error_response, noted_outcome
from services.rpc.errors import InternalError
from services.rpc.log import where

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from services.gateway.http.metrics import Metrics

_log = structlog.get_logger()

_UNLOGGED = frozenset({"/health", "/health/live", "/metrics"})
_NO_ROUTE = "none"
"""Stands for every path that nothing is at: a path may hold anything, so it is never logged itself."""


class Outcomes:
    """Answers what nobody expected, and logs each request's route, outcome and duration.

    Args:
        app: What answers.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        outcome = "CANCELLED"
        try:
            with self._metrics.under_way():
                await self._app(scope, receive, noting_status)
            outcome = noted_outcome(scope) or ("OK" if status < 400 else f"HTTP_{status}")
        except asyncio.CancelledError:
            raise
        except Exception as failure:
            outcome = InternalError.reason
            _log.error("unexpected exception", method=_name(scope), failure=where(failure))
            # After the first byte nothing can be said any more: the server closes the connection in mid-answer.
            if not status:
                await error_response(InternalError.unexpected())(scope, receive, noting_status)
        finally:
            seconds = time.monotonic() - began
            path = _path(scope)
            self._metrics.ended(path, outcome, seconds)
            if path not in _UNLOGGED:
                _log.info("call", method=_name(scope), outcome=outcome, seconds=round(seconds, 4))


def _path(scope: Scope) -> str:
    """Returns the path of the route that answered, its parameters unfilled."""
    return str(getattr(scope.get("route"), "path", _NO_ROUTE))


def _name(scope: Scope) -> str:
    return f"{scope['method']} {_path(scope)}"
