"""The errors that may cross a door, each with one gRPC status, one reason and one HTTP status.

    ChatbotError
    ├── InvalidArgument          INVALID_ARGUMENT     400
    │   ├── ContextTooLong       CONTEXT_LENGTH_EXCEEDED, metadata n_prompt, n_context
    │   ├── InvalidPageToken
    │   ├── RequestIdReused
    │   ├── BodyTooLarge                              413, HTTP only
    │   ├── UnsupportedMediaType                      415, HTTP only
    │   ├── OriginNotAllowed                          403, HTTP only
    │   └── HostNotAllowed                            421, HTTP only
    ├── Unauthenticated          UNAUTHENTICATED      401, WWW-Authenticate: Bearer
    ├── PermissionDenied         PERMISSION_DENIED    403
    ├── NotFound                 NOT_FOUND            404
    │   ├── ConversationNotFound
    │   ├── MessageNotFound
    │   ├── ModelNotFound                             HTTP only
    │   └── ResponseNotFound                          HTTP only
    │       └── PreviousResponseNotFound
    ├── FailedPrecondition       FAILED_PRECONDITION  400
    │   └── NothingToRegenerate
    ├── ConversationBusy         ABORTED              409, retry
    ├── SequenceMismatch         ABORTED              409
    ├── ConversationChanged      ABORTED              409
    ├── Overloaded               RESOURCE_EXHAUSTED   429, retry
    │   └── LimitReached         USER_LIMIT_REACHED, metadata limit, per
    ├── Unavailable              UNAVAILABLE          503, retry
    │   ├── ModelLoading
    │   ├── EngineLost
    │   ├── InferenceUnavailable
    │   ├── MemoryUnavailable
    │   └── ShuttingDown
    ├── DeadlineExceeded         DEADLINE_EXCEEDED    504
    ├── NotImplementedYet        UNIMPLEMENTED        501
    └── InternalError            INTERNAL             500

The wire form is `google.rpc.Status` with one `ErrorInfo` (plus `BadRequest` and `RetryInfo` where apt), as
https://google.aip.dev/193 describes it. Messages are for the caller: they name what was wrong and what would be
right, and never hold text of a conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.message import Message

ERROR_DOMAIN = "chatbot"
"""`ErrorInfo.domain` of every error of ours."""

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata that carries the serialized `google.rpc.Status`."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong: its path as in the proto, and what would be right."""

    field: str
    description: str


class ChatbotError(Exception):
    """Base of all errors that may cross a door.

    Args:
        message: One sentence for the caller.
        metadata: Facts for programs, under `ErrorInfo.metadata`.
        violations: Fields of the request that are wrong.
        retry_after: Seconds after which trying again makes sense.
    """

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: ClassVar[str] = "UNKNOWN"
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


class InvalidArgument(ChatbotError):
    """The request can never be carried out as it is."""

    status = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"
    http_status = 400


def invalid_field(field: str, description: str) -> InvalidArgument:
    """Returns the error for one wrong field: `description` completes the sentence "`field` ..."."""
    return InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])


class ContextTooLong(InvalidArgument):
    """The prompt does not fit the model's context."""

    reason = "CONTEXT_LENGTH_EXCEEDED"

    @classmethod
    def of(cls, n_prompt: int, n_context: int) -> ContextTooLong:
        """Returns the error for a prompt of `n_prompt` tokens in a context of `n_context`."""
        return cls(
            f"The prompt has {n_prompt} tokens; the model's context holds {n_context}, and the reply needs one.",
            metadata={"n_prompt": str(n_prompt), "n_context": str(n_context)},
        )


class InvalidPageToken(InvalidArgument):
    """A page token that this service did not give for this request."""

    reason = "INVALID_PAGE_TOKEN"


class RequestIdReused(InvalidArgument):
    """A `request_id` was repeated with another content."""

    reason = "REQUEST_ID_REUSED"


class BodyTooLarge(InvalidArgument):
    """The body of an HTTP request has more bytes than any request needs."""

    reason = "REQUEST_TOO_LARGE"
    http_status = 413


class UnsupportedMediaType(InvalidArgument):
    """The body of an HTTP request is declared as something else than JSON."""

    reason = "UNSUPPORTED_MEDIA_TYPE"
    http_status = 415


class OriginNotAllowed(InvalidArgument):
    """An HTTP request comes from a page that may not send it."""

    reason = "ORIGIN_NOT_ALLOWED"
    http_status = 403


class HostNotAllowed(InvalidArgument):
    """An HTTP request is addressed to a name that is not this server's."""

    reason = "HOST_NOT_ALLOWED"
    http_status = 421


class Unauthenticated(ChatbotError):
    """It is not proven who calls."""

    status = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    http_status = 401


class PermissionDenied(ChatbotError):
    """It is clear who calls, and they may not do this."""

    status = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"
    http_status = 403


class NotFound(ChatbotError):
    """It does not exist, or is not the caller's: the answer is the same."""

    status = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"
    http_status = 404


class ConversationNotFound(NotFound):
    """There is no such conversation of the caller's."""

    reason = "CONVERSATION_NOT_FOUND"


class MessageNotFound(NotFound):
    """There is no such message of the caller's."""

    reason = "MESSAGE_NOT_FOUND"


class ModelNotFound(NotFound):
    """No model of this id is served."""

    reason = "MODEL_NOT_FOUND"


class ResponseNotFound(NotFound):
    """There is no such response of the caller's."""

    reason = "RESPONSE_NOT_FOUND"


class PreviousResponseNotFound(ResponseNotFound):
    """There is none of the caller's to go on from."""

    reason = "PREVIOUS_RESPONSE_NOT_FOUND"


class FailedPrecondition(ChatbotError):
    """The request is right, but not for the state things are in."""

    status = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"
    http_status = 400


class NothingToRegenerate(FailedPrecondition):
    """The conversation has no message of the user to reply to."""

    reason = "NOTHING_TO_REGENERATE"


class ConversationBusy(ChatbotError):
    """Another reply of the conversation is being generated."""

    status = grpc.StatusCode.ABORTED
    reason = "CONVERSATION_BUSY"
    http_status = 409


class SequenceMismatch(ChatbotError):
    """The conversation has grown since the caller looked."""

    status = grpc.StatusCode.ABORTED
    reason = "SEQUENCE_MISMATCH"
    http_status = 409


class ConversationChanged(ChatbotError):
    """The conversation is not as it was when the caller looked."""

    status = grpc.StatusCode.ABORTED
    reason = "CONVERSATION_CHANGED"
    http_status = 409


class Overloaded(ChatbotError):
    """Too much is going on already."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    http_status = 429


class LimitReached(Overloaded):
    """The user has had as much as a user may have for now."""

    reason = "USER_LIMIT_REACHED"


class Unavailable(ChatbotError):
    """A part that is needed does not answer now."""

    status = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"
    http_status = 503


class ModelLoading(Unavailable):
    """The model is not loaded yet."""

    reason = "MODEL_LOADING"


class EngineLost(Unavailable):
    """The engine stopped working while it generated."""

    reason = "ENGINE_LOST"


class InferenceUnavailable(Unavailable):
    """The inference service does not answer."""

    reason = "INFERENCE_UNAVAILABLE"


class MemoryUnavailable(Unavailable):
    """The memory service does not answer."""

    reason = "MEMORY_UNAVAILABLE"


class ShuttingDown(Unavailable):
    """The service is stopping."""

    reason = "SHUTTING_DOWN"


class DeadlineExceeded(ChatbotError):
    """The caller's deadline passed."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    http_status = 504


class NotImplementedYet(ChatbotError):
    """The protocol has it; this version does not."""

    status = grpc.StatusCode.UNIMPLEMENTED
    reason = "NOT_IMPLEMENTED"
    http_status = 501


class InternalError(ChatbotError):
    """A fault of ours. The message never tells more than that."""

    status = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"
    http_status = 500

    @classmethod
    def unexpected(cls) -> InternalError:
        """Returns the error that stands for any exception nobody expected."""
        return cls("Something went wrong inside the service; its log says where.")


def error_types() -> Iterator[type[ChatbotError]]:
    """Yields every error type, bases before what derives from them."""
    pending: list[type[ChatbotError]] = list(ChatbotError.__subclasses__())
    while pending:
        kind = pending.pop(0)
        yield kind
        pending.extend(kind.__subclasses__())


def to_status(error: ChatbotError) -> status_pb2.Status:
    """Returns the wire form of an error."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata)
    ]
    if error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                    for v in error.violations
                ]
            )
        )
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.status.value[0], message=error.message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def from_rpc_error(failure: grpc.aio.AioRpcError) -> ChatbotError:
    """Returns the error that a peer of ours reported, or the nearest one where it reported none of ours."""
    packed = next((v for k, v in failure.trailing_metadata() if k == STATUS_DETAILS_KEY and isinstance(v, bytes)), None)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    has_retry = False
    if packed is not None:
        for detail in status_pb2.Status.FromString(packed).details:
            detail.Unpack(info)
            detail.Unpack(bad_request)
            has_retry = detail.Unpack(retry) or has_retry
    code = failure.code()
    kind = next(
        (t for t in error_types() if t.status is code and t.reason == info.reason),
        next((t for t in error_types() if t.status is code), InternalError),
    )
    # What is not an error of ours may hold anything, so its words are not passed on.
    message = (failure.details() or "") if info.domain == ERROR_DOMAIN else f"The call failed ({code.name})."
    return kind(
        message,
        metadata=info.metadata,
        violations=[FieldViolation(v.field, v.description) for v in bad_request.field_violations],
        retry_after=retry.retry_delay.ToMilliseconds() / 1000 if has_retry else None,
    )
