"""A stream of JSON objects, one a line (application/x-ndjson), that ends the call when the reader goes away."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog
from google.protobuf.json_format import MessageToJson
from starlette.responses import JSONResponse, Response

from services.gateway.http.failures import error_headers, note_outcome
from services.rpc.errors import ChatbotError, InternalError
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from google.protobuf.message import Message
    from starlette.types import Receive, Scope, Send

_log = structlog.get_logger()

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"}


class JsonLines(Response):
    """Sends the messages of a call as they come.

    A call that fails before its first message is answered with the error's own HTTP status. One that fails later ends
    with a line `{"error": …}`; a reader who sees neither that nor the call's last message has lost the connection.

    Args:
        messages: The call. Closed, and so stopped, as soon as the reader goes away.
    """

    media_type = "application/x-ndjson"

    def __init__(self, messages: AsyncGenerator[Message, None]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request."""
        answering = asyncio.create_task(self._answer(scope, receive, send), name="json-lines")
        gone = asyncio.create_task(_gone(receive), name="json-lines-reader")
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            answering.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)
        if not answering.cancelled():
            answering.result()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        try:
            async with aclosing(self._messages) as messages:
                async for message in messages:
                    if not begun:
                        begun = True
                        await send(
                            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                        )
                    await _send_line(send, MessageToJson(message, indent=None, ensure_ascii=False))
        except Exception as failure:
            error = as_error(failure)
            note_outcome(scope, error.reason)
            if not begun:
                await error_response(error)(scope, receive, send)
                return
            await _send_line(send, json.dumps(error_body(error), ensure_ascii=False))
        if not begun:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def as_error(failure: Exception) -> ChatbotError:
    """Returns what the caller is told of an exception."""
    if isinstance(failure, ChatbotError):
        return failure
    _log.error("unexpected exception", method="http", failure=where(failure))
    return InternalError.unexpected()


def error_body(error: ChatbotError) -> Mapping[str, object]:
    """Returns the JSON form of an error."""
    body: dict[str, object] = {
        "message": error.message,
        "reason": error.reason,
        "status": error.status.name,
        "metadata": error.metadata,
    }
    if error.violations:
        body["violations"] = [{"field": v.field, "description": v.description} for v in error.violations]
    if error.retry_after is not None:
        body["retryAfter"] = error.retry_after
    return {"error": body}


def error_response(error: ChatbotError) -> Response:
    """Returns the answer that tells an error."""
    return JSONResponse(error_body(error), error.http_status, {**_HEADERS, **error_headers(error)})


async def _send_line(send: Send, line: str) -> None:
    await send({"type": "http.response.body", "body": f"{line}\n".encode(), "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
