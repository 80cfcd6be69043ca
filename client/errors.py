"""What a call can fail with.

    ChatbotError
    ├── InvalidArgument          the request can never be carried out as it is
    │   ├── ContextTooLong       metadata n_prompt, n_context
    │   ├── InvalidPageToken
    │   └── RequestIdReused
    ├── NotFound                 it does not exist, or is not yours
    │   ├── ConversationNotFound
    │   └── MessageNotFound
    ├── FailedPrecondition
    │   └── NothingToRegenerate
    ├── Unauthenticated          the backend asks for an API key, and this is none of its own
    ├── PermissionDenied         the key does not allow that
    ├── ConversationBusy         another reply of the conversation is being generated; retry_after
    ├── Overloaded               too much is going on already; retry_after
    ├── Unavailable              a part that is needed does not answer now
    │   ├── ModelLoading
    │   ├── EngineLost
    │   └── NotConnected         nothing answers at the address
    ├── DeadlineExceeded
    ├── NotImplementedByServer   the protocol has it; the server's version does not
    └── InternalError            a fault of the server's

An error is read from the `google.rpc.Status` in the call's trailing metadata (https://google.aip.dev/193): its
class from the status code and `ErrorInfo.reason`, the rest from `ErrorInfo`, `BadRequest` and `RetryInfo`. A
reason that this version does not know gives the class of its status code.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ERROR_DOMAIN = "chatbot"
"""`ErrorInfo.domain` of the backend's own errors."""

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata that carries the serialized `google.rpc.Status`."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that is wrong: its path as in the proto, and what would be right."""

    field: str
    description: str


class ChatbotError(Exception):
    """Base of all errors of the client.

    Args:
        message: One sentence for a person.
        code: The call's status.
        reason: What happened, for programs: `CONVERSATION_BUSY`.
        metadata: Facts for programs.
        violations: Fields of the request that are wrong.
        retry_after: Seconds after which trying again makes sense.
    """

    status: ClassVar[grpc.StatusCode | None] = None
    """The status that this class and those under it stand for; None: any."""
    known_reason: ClassVar[str | None] = None
    """The one reason that this class stands for; None: any."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.status or grpc.StatusCode.UNKNOWN
        self.reason = reason or self.known_reason or self.code.name
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


class InvalidArgument(ChatbotError):
    """The request can never be carried out as it is."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class ContextTooLong(InvalidArgument):
    """The prompt does not fit the model's context."""

    known_reason = "CONTEXT_LENGTH_EXCEEDED"


class InvalidPageToken(InvalidArgument):
    """A page token that the server did not give for this request."""

    known_reason = "INVALID_PAGE_TOKEN"


class RequestIdReused(InvalidArgument):
    """A `request_id` was repeated with another content."""

    known_reason = "REQUEST_ID_REUSED"


class NotFound(ChatbotError):
    """It does not exist, or is not yours."""

    status = grpc.StatusCode.NOT_FOUND


class ConversationNotFound(NotFound):
    """You have no such conversation."""

    known_reason = "CONVERSATION_NOT_FOUND"


class MessageNotFound(NotFound):
    """You have no such message."""

    known_reason = "MESSAGE_NOT_FOUND"


class FailedPrecondition(ChatbotError):
    """The request is right, but not for the state things are in."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class NothingToRegenerate(FailedPrecondition):
    """The conversation has no message of yours to reply to."""

    known_reason = "NOTHING_TO_REGENERATE"


class Unauthenticated(ChatbotError):
    """The backend asks for an API key, and none was given, or one that it does not know any more."""

    status = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(ChatbotError):
    """The key does not allow that."""

    status = grpc.StatusCode.PERMISSION_DENIED


class ConversationBusy(ChatbotError):
    """Another reply of the conversation is being generated."""

    status = grpc.StatusCode.ABORTED
    known_reason = "CONVERSATION_BUSY"


class Overloaded(ChatbotError):
    """Too much is going on already."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(ChatbotError):
    """A part that is needed does not answer now."""

    status = grpc.StatusCode.UNAVAILABLE


class ModelLoading(Unavailable):
    """The model is not loaded yet."""

    known_reason = "MODEL_LOADING"


class EngineLost(Unavailable):
    """The engine stopped working while it generated."""

    known_reason = "ENGINE_LOST"


class NotConnected(Unavailable):
    """Nothing answers at the address, or the connection broke."""

    known_reason = "NOT_CONNECTED"


class DeadlineExceeded(ChatbotError):
    """The call's deadline passed."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class NotImplementedByServer(ChatbotError):
    """The protocol has it; the server's version does not."""

    status = grpc.StatusCode.UNIMPLEMENTED


class InternalError(ChatbotError):
    """A fault of the server's."""

    status = grpc.StatusCode.INTERNAL


def from_rpc_error(failure: grpc.aio.AioRpcError, address: str) -> ChatbotError:
    """Returns the error that a failed call stands for.

    Args:
        failure: What grpc raised.
        address: Where the call went, for the message where nothing answered.
    """
    code = failure.code()
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    has_retry = False
    for detail in _status(failure).details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
        has_retry = detail.Unpack(retry) or has_retry
    if info.domain != ERROR_DOMAIN and code is grpc.StatusCode.UNAVAILABLE:
        return NotConnected(f"No answer from {address}.")
    # Words that are not the backend's own may be anything: a proxy's page, a library's internals.
    message = (failure.details() or "") if info.domain == ERROR_DOMAIN else ""
    return _kind(code, info.reason)(
        message or f"The call failed ({code.name}).",
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        violations=[FieldViolation(v.field, v.description) for v in bad_request.field_violations],
        retry_after=retry.retry_delay.ToMilliseconds() / 1000 if has_retry else None,
    )


def _status(failure: grpc.aio.AioRpcError) -> status_pb2.Status:
    packed = next((v for k, v in failure.trailing_metadata() if k == STATUS_DETAILS_KEY and isinstance(v, bytes)), b"")
    status = status_pb2.Status()
    # Bytes that are no status leave it as far as it could be read; the code and words of the call remain.
    with contextlib.suppress(DecodeError):
        status.ParseFromString(packed)
    return status


def _kind(code: grpc.StatusCode, reason: str) -> type[ChatbotError]:
    of_code = [kind for kind in _error_types() if kind.status is code]
    by_reason = [kind for kind in of_code if kind.known_reason == reason]
    any_reason = [kind for kind in of_code if kind.known_reason is None]
    return next(iter(by_reason + any_reason), ChatbotError)


def _error_types() -> Iterator[type[ChatbotError]]:
    """Yields every error type, bases before what derives from them."""
    pending: list[type[ChatbotError]] = list(ChatbotError.__subclasses__())
    while pending:
        kind = pending.pop(0)
        yield kind
        pending.extend(kind.__subclasses__())
