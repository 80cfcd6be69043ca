"""Errors as answers, in the form that OpenAI's clients read: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NotRequired

from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from services.rpc import errors

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.types import Scope

_OUTCOME_KEY = "chatbot.outcome"

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}
"""By status; another below 500 is an `invalid_request_error`, from there on a `server_error`."""

_CONTEXT_TYPE = "exceed_context_size_error"
"""What llama.cpp's clients know an overflow by; OpenAI's know it by its code."""

_PROTO_PREFIXES = {"sampling.": "", "messages.messages": "messages"}
"""Paths of the services' protos, and what an OpenAI request has there."""


class ErrorFacts(TypedDict):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None
    n_prompt_tokens: NotRequired[int]
    n_ctx: NotRequired[int]


class ErrorBody(TypedDict):
    """The answer where a request cannot be carried out."""

    error: ErrorFacts


def note_outcome(scope: Scope, outcome: str) -> None:
    """Says what the log line and the metrics will call a request's outcome: `OK`, or an error's reason."""
    scope[_OUTCOME_KEY] = outcome


def noted_outcome(scope: Scope) -> str | None:
    """Returns what was said of a request's outcome; None where nothing was."""
    noted: str | None = scope.get(_OUTCOME_KEY)
    return noted


def error_body(error: errors.ChatbotError) -> ErrorBody:
    """Returns the body that tells of an error."""
    facts: ErrorFacts = {
        "message": error.message,
        "type": _type_of(error.http_status),
        "param": _param(error.violations[0].field) if error.violations else None,
        "code": error.metadata.get("code") or error.reason.lower(),
    }
    if isinstance(error, errors.ContextTooLong) and {"n_prompt", "n_context"} <= error.metadata.keys():
        facts["type"] = _CONTEXT_TYPE
        facts["param"] = facts["param"] or "messages"
        facts["n_prompt_tokens"] = int(error.metadata["n_prompt"])
        facts["n_ctx"] = int(error.metadata["n_context"])
        # In OpenAI's words, which clients look for.
        facts["message"] = (
            f"This model's maximum context length is {facts['n_ctx']} tokens. "
            f"The prompt has {facts['n_prompt_tokens']}, and the reply needs one."
        )
    return {"error": facts}


def error_headers(error: errors.ChatbotError) -> dict[str, str]:
    """Returns the headers that go with an error, in whatever form its body is.

    `Retry-After`, in whole seconds and at least one, where trying again makes sense.
    """
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_response(error: errors.ChatbotError) -> JSONResponse:
    """Returns the whole answer."""
    return JSONResponse(error_body(error), error.http_status, error_headers(error))


async def answer_error(request: Request, failure: Exception) -> JSONResponse:
    """Starlette's handler of `ChatbotError`."""
    if not isinstance(failure, errors.ChatbotError):
        raise failure
    note_outcome(request.scope, failure.reason)
    return error_response(failure)


async def answer_http_exception(request: Request, failure: Exception) -> JSONResponse:
    """Starlette's handler of what it raises itself: no such path, a method that a path does not have."""
    http: HTTPException = failure  # type: ignore[assignment]  # registered for this type alone
    facts: ErrorFacts = {
        "message": {
            404: "There is nothing at this path.",
            405: f"This path does not take {request.method}.",
        }.get(http.status_code, http.detail),
        "type": _type_of(http.status_code),
        "param": None,
        "code": None,
    }
    return JSONResponse(ErrorBody(error=facts), http.status_code, http.headers)


def _type_of(status: int) -> str:
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


def _param(path: str) -> str:
    for prefix, ours in _PROTO_PREFIXES.items():
        if path.startswith(prefix):
            return ours + path.removeprefix(prefix)
    return path
