"""`ChatService` as JSON over HTTP: `POST /api/v1/ChatService/{Method}`, the request as protobuf's JSON mapping has it.

Which methods there are, what they take and whether they stream is read from the proto; nothing is said twice. Only
`application/json` is taken, which no page of another site can send without asking first, and nothing here says yes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from chatbot.v1.chat_service_pb2 import DESCRIPTOR
from services.gateway.http.failures import note_outcome
from services.gateway.web.json_lines import JsonLines, as_error, error_response
from services.rpc.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from google.protobuf.message import Message
    from starlette.types import Receive, Scope, Send

    from services.gateway.chat_calls import ChatCalls
    from services.gateway.http import Callers
    from services.gateway.identity import Caller

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Room for a message of 1,000,000 bytes in which every character is written as an escape."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class _Method:
    """One method of the service."""

    request: type[Message]
    call: Callable[[Message, Caller], AsyncGenerator[Message, None] | Awaitable[Message]]
    streams: bool


class JsonCalls:
    """Answers the calls. An ASGI application whose path has the parameter `method`."""

    def __init__(self, calls: ChatCalls, callers: Callers) -> None:
        self._callers = callers
        self._methods = {
            method.name: _Method(
                GetMessageClass(method.input_type), getattr(calls, _snake(method.name)), method.server_streaming
            )
            for method in DESCRIPTOR.services_by_name["ChatService"].methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except Exception as failure:
            error = as_error(failure)
            note_outcome(scope, error.reason)
            response = error_response(error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = self._methods.get(request.path_params["method"])
        if method is None:
            return _refusal(404, "METHOD_NOT_FOUND", "ChatService has no such method.")
        if request.method != "POST":
            return _refusal(405, "METHOD_NOT_ALLOWED", "Calls are made with POST.", {"Allow": "POST"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refusal(415, "NOT_JSON", "Content-Type must be application/json.")
        # Before the body is read: who may not call shall cost nothing.
        caller = await self._callers.of(request)
        body = await _body(request)
        if body is None:
            return _refusal(413, "BODY_TOO_LARGE", f"The body may have up to {MAX_BODY_BYTES} bytes.")
        message = _parsed(body, method.request)
        if method.streams:
            return JsonLines(cast("AsyncGenerator[Message, None]", method.call(message, caller)))
        answer = await cast("Awaitable[Message]", method.call(message, caller))
        text = MessageToJson(answer, indent=None, ensure_ascii=False)
        return Response(text, headers=_HEADERS, media_type="application/json")


async def _body(request: Request) -> bytes | None:
    """Returns the body, or None where it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _parsed(body: bytes, kind: type[Message]) -> Message:
    try:
        return Parse(body or b"{}", kind())
    except (ParseError, UnicodeError, ValueError, RecursionError) as failure:
        # What the parser says may quote what was said.
        field = re.match(r"Failed to parse ([\w.\[\]]+) field", str(failure))
        where = f", by its field {field[1]}" if field else ""
        raise InvalidArgument(f"The body is not the JSON form of a {kind.DESCRIPTOR.name}{where}.") from None


def _refusal(status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"error": {"message": message, "reason": reason, "metadata": {}}}
    return JSONResponse(body, status, {**_HEADERS, **(headers or {})})


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
