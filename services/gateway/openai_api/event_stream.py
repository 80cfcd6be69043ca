"""Answers that are streamed, as server-sent events."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import structlog
from sse_starlette import EventSourceResponse

from services.gateway.http.failures import error_body, note_outcome
from services.rpc.errors import ChatbotError, InternalError
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from starlette.requests import Request

    from services.gateway.http.failures import ErrorBody
    from services.gateway.openai_api.replies import Replies

_log = structlog.get_logger()

PATIENCE_SECONDS = 5.0
"""How long a stream's headers wait for the model to take the request up. What cannot be had, such as a place in the
queue, is nearly always known by then, and answered with a status of its own."""

PING_SECONDS = 10.0
"""Between comments that keep a stream open for clients and proxies, through long prefills and queues."""

_STALLED_SECONDS = 120.0
"""A client that takes nothing for so long is taken for gone."""

DONE = b"data: [DONE]\n\n"


def as_json(value: Mapping[str, Any]) -> str:
    """Returns a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_event(value: Mapping[str, Any], name: str = "") -> bytes:
    """Returns a value as one server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {as_json(value)}\n\n".encode()


def stream_replies(
    request: Request,
    replies: Replies,
    events: AsyncGenerator[bytes, None],
    *,
    on_error: Callable[[ErrorBody], bytes] = as_event,
    ping: float = PING_SECONDS,
) -> EventSourceResponse:
    """Streams events, with pings on the wall clock.

    A fault ends the stream with `on_error`'s event: whatever would have told the end (`[DONE]`) does not come. A client
    that goes away stops the replies.

    Args:
        request: What is answered.
        replies: What the events are made of; closed at the end, whichever it is.
        events: The stream.
        on_error: Makes the last event of a stream that broke off.
        ping: Seconds between pings.
    """

    async def guarded() -> AsyncGenerator[bytes, None]:
        note_outcome(request.scope, "CANCELLED")
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
            note_outcome(request.scope, "OK")
        except Exception as failure:
            if not isinstance(failure, ChatbotError):
                _log.error("unexpected exception", method=request.method, failure=where(failure))
            error = failure if isinstance(failure, ChatbotError) else InternalError.unexpected()
            note_outcome(request.scope, error.reason)
            yield on_error(error_body(error))
        finally:
            replies.close()

    return EventSourceResponse(guarded(), ping=ping, sep="\n", send_timeout=_STALLED_SECONDS)
