"""The error table: one gRPC status, one reason and one HTTP status each, and back again over the wire."""

import grpc
import pytest
from google.rpc import error_details_pb2

from services.rpc import errors

LEAVES = [kind for kind in errors.error_types() if not kind.__subclasses__()]


def rpc_error(error: errors.ChatbotError) -> grpc.aio.AioRpcError:
    """Returns the failure a client sees when a server ends a call with an error."""
    details = errors.to_status(error).SerializeToString()
    return grpc.aio.AioRpcError(
        error.status,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata((errors.STATUS_DETAILS_KEY, details)),
        details=error.message,
    )


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_wire(kind: type[errors.ChatbotError]):
    error = kind(
        "What was wrong.",
        metadata={"n": "1"},
        violations=[errors.FieldViolation("text", "must not be empty")],
        retry_after=1.5,
    )
    received = errors.from_rpc_error(rpc_error(error))
    assert type(received) is kind
    assert received.message == "What was wrong."
    assert received.metadata == {"n": "1"}
    assert received.violations == error.violations
    assert received.retry_after == 1.5


def test_no_two_errors_share_a_status_and_a_reason():
    rows = [(kind.status, kind.reason) for kind in errors.error_types()]
    assert len(rows) == len(set(rows))


def test_every_error_has_a_place_in_the_table_of_the_module():
    assert errors.__doc__ is not None
    for kind in errors.error_types():
        assert kind.__name__ in errors.__doc__
        assert 400 <= kind.http_status < 600


def test_an_error_carries_exactly_one_error_info_and_details_only_where_apt():
    status = errors.to_status(errors.ConversationNotFound("There is none."))
    assert len(status.details) == 1
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("CONVERSATION_NOT_FOUND", "chatbot")


def test_words_of_a_failure_that_is_not_ours_are_not_passed_on():
    failure = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details="somebody's secret"
    )
    received = errors.from_rpc_error(failure)
    assert type(received) is errors.InternalError
    assert "secret" not in received.message


def test_an_unreachable_peer_becomes_plain_unavailable():
    failure = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "refused")
    assert type(errors.from_rpc_error(failure)) is errors.Unavailable
