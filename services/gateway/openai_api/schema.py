"""How requests are read: strictly typed, unknown fields ignored, the first fault told with its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from services.rpc.channel import MAX_MESSAGE_BYTES
from services.rpc.errors import BodyTooLarge, FieldViolation, InvalidArgument, UnsupportedMediaType

if TYPE_CHECKING:
    from starlette.requests import Request

_FIELD = re.compile(r"[a-z][a-z_0-9]*\Z")
_TAGS = frozenset({"str", "int", "float", "bool", "dict", "list"})
"""Where a value may be of several types, pydantic names in a fault's place which of them it tried."""


class RequestModel(BaseModel):
    """A request's body, or a part of it. A number is no string and no boolean; `null` is as good as absent."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


RequestT = TypeVar("RequestT", bound=RequestModel)


async def read_body(request: Request, kind: type[RequestT]) -> RequestT:
    """Reads a request's body.

    Raises:
        UnsupportedMediaType: Its `Content-Type` is another; a page may send others to any server without asking first.
        BodyTooLarge: It is.
        InvalidArgument: It is no JSON, or not as `kind` says; told is the first fault, and its place. What was sent
            is not repeated.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("The request's Content-Type must be application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_MESSAGE_BYTES:
            raise BodyTooLarge(f"The request's body must have at most {MAX_MESSAGE_BYTES} bytes.")
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as invalid:
        raise _refusal(invalid) from None


def read_query(request: Request, kind: type[RequestT]) -> RequestT:
    """Reads a request's query.

    Raises:
        InvalidArgument: It is not as `kind` says.
    """
    try:
        return kind.model_validate_strings(dict(request.query_params))
    except ValidationError as invalid:
        raise _refusal(invalid) from None


def _refusal(invalid: ValidationError) -> InvalidArgument:
    """Returns the error that tells the first fault."""
    faults = invalid.errors(include_url=False, include_input=False, include_context=False)
    # Of a value that may be of several types, there is a fault for each of them: the one that got furthest tells most.
    first = [fault for fault in faults if fault["loc"][:1] == faults[0]["loc"][:1]]
    fault = max(first, key=lambda fault: _place(fault["loc"]).count("[") + _place(fault["loc"]).count("."))
    place = _place(fault["loc"])
    what = f"{fault['msg']} ({fault['type']})"
    if fault["type"] == "json_invalid":
        # The parser's words quote what it stumbled over.
        what = "The request's body is no valid JSON"
    violations = [FieldViolation(place, what)] if place else []
    return InvalidArgument(
        f"{place}: {what}." if place else f"{what}.", metadata={"code": fault["type"]}, violations=violations
    )


def _place(loc: tuple[int | str, ...]) -> str:
    """Returns where a fault is, as `messages[0].content`."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _FIELD.match(step) and step not in _TAGS:
            path += f".{step}" if path else step
    return path
