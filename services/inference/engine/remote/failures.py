"""What goes wrong at a model's server, as errors of ours.

    it cannot be reached, refuses the key, has lost the model      Unavailable
    429, 503                                                        Overloaded, with its Retry-After
    the prompt is longer than its context                           ContextTooLong
    another 4xx                                                     InvalidArgument
    5xx, a reply that breaks off or is not what it should be        EngineLost: this reply only

A server's own words may quote the conversation, so they are read but never passed on.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from services.rpc.errors import ChatbotError, ContextTooLong, EngineLost, InvalidArgument, Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.rpc.server_address import ServerAddress

_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 60.0

_ABOUT_CONTEXT = re.compile(
    r"context[ _](length|size|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)


class BadAnswer(Exception):
    """The server answered something that is no answer of its API."""


class Refusal(Exception):
    """The server answered with a status of 400 or more. Holds its words: never to be shown or logged."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        detail = body.get("error", body) if isinstance(body, dict) else None
        self.detail: dict[str, Any] = detail if isinstance(detail, dict) else {"message": str(detail or "")}

    @property
    def about_context(self) -> bool:
        """Whether the prompt was longer than the server's context."""
        return self.status in {400, 413, 422, 500} and (
            self.detail.get("type") == "exceed_context_size_error"
            or self.detail.get("code") == "context_length_exceeded"
            or _ABOUT_CONTEXT.search(str(self.detail.get("message", ""))) is not None
        )


def unreachable(address: ServerAddress) -> ChatbotError:
    """Returns the error for a server that cannot be reached."""
    return Unavailable(f"The model's server at {address.base} cannot be reached.", retry_after=_RETRY_SECONDS)


def broken_off(address: ServerAddress) -> ChatbotError:
    """Returns the error for a server that was reached and did not keep its word."""
    return EngineLost(
        f"The model's server at {address.base} broke off before the reply was complete.", retry_after=_RETRY_SECONDS
    )


def refused(address: ServerAddress, refusal: Refusal) -> ChatbotError:
    """Returns the error for a status of the server."""
    server, status = f"The model's server at {address.base}", refusal.status
    if refusal.about_context:
        return ContextTooLong(f"{server} has no room for the prompt in its context.", metadata=_sizes(refusal))
    if status in {429, 503}:
        return Overloaded(f"{server} has too much to do at the moment.", retry_after=_retry_after(refusal))
    if status in {401, 403}:
        return Unavailable(f"{server} does not accept this service's key (HTTP {status}).")
    if status == 404:
        return Unavailable(f"{server} does not have the model any more (HTTP 404).", retry_after=_RETRY_SECONDS)
    if status < 500:
        return InvalidArgument(f"{server} cannot take this request (HTTP {status}).")
    return EngineLost(f"{server} failed (HTTP {status}).", retry_after=_RETRY_SECONDS)


def _sizes(refusal: Refusal) -> dict[str, str]:
    sizes = {"n_prompt": refusal.detail.get("n_prompt_tokens"), "n_context": refusal.detail.get("n_ctx")}
    return {name: str(size) for name, size in sizes.items() if isinstance(size, int)}


def _retry_after(refusal: Refusal) -> float:
    """Reads Retry-After: seconds or a date (RFC 9110, 10.2.3)."""
    said = refusal.headers.get("retry-after", "")
    if said.isdecimal():
        return min(float(said), _LONGEST_RETRY_SECONDS)
    try:
        seconds = parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:
        seconds = _RETRY_SECONDS
    return min(max(seconds, 0.0), _LONGEST_RETRY_SECONDS)
