"""Responses, as they are answered: new ones, and those that were kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict

from chatbot.v1 import chat_message_pb2 as message_pb
from services.gateway.openai_api.logprobs import TokenLogprobs

if TYPE_CHECKING:
    from services.gateway.openai_api.reply import Ended
    from services.gateway.openai_api.response_request import ResponseRequest
    from services.gateway.openai_api.stored_response import StoredResponse

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = ItemStatus | Literal["cancelled", "failed"]

_STATUS: dict[message_pb.FinishReason, Status] = {
    message_pb.FINISH_REASON_MAX_TOKENS: "incomplete",
    message_pb.FINISH_REASON_CONTEXT_FULL: "incomplete",
    message_pb.FINISH_REASON_DEADLINE: "cancelled",
    message_pb.FINISH_REASON_CANCELLED: "cancelled",
    message_pb.FINISH_REASON_ENGINE_LOST: "failed",
}
"""Of a response, by how its reply ended; where that is another way, it is complete."""


class OutputText(TypedDict):
    """Text of a response."""

    type: Literal["output_text"]
    text: str
    annotations: list[str]
    logprobs: list[TokenLogprobs]


class OutputMessage(TypedDict):
    """The one item that a response puts out."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: ItemStatus
    content: list[OutputText]


class ResponseError(TypedDict):
    """Why a response failed."""

    code: Literal["server_error"]
    message: str


class IncompleteDetails(TypedDict):
    """Why a response is not complete."""

    reason: Literal["max_output_tokens"]


class InputTokensDetails(TypedDict):
    """Of the prompt's tokens, those that a cache held."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(TypedDict):
    """Of the reply's tokens, those that are not shown."""

    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """What a response cost, in tokens."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseText(TypedDict):
    """What form the text has."""

    format: dict[str, Any]


class ResponseObject(TypedDict):
    """A response, complete or under way."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool
    previous_response_id: str | None
    store: bool
    temperature: float | None
    text: ResponseText
    tool_choice: Literal["none"]
    tools: list[str]
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseUsage | None


def new_response(asked: ResponseRequest, response_id: str, model: str) -> ResponseObject:
    """Returns a response that has no text yet."""
    form = asked.text.format if asked.text is not None else None
    response = _response(response_id, int(time.time()), model)
    response["instructions"] = asked.instructions
    response["max_output_tokens"] = asked.max_output_tokens
    response["metadata"] = dict(asked.metadata or {})
    response["previous_response_id"] = asked.previous_response_id
    response["store"] = asked.is_stored
    response["temperature"], response["top_p"] = asked.temperature, asked.top_p
    if form is not None:
        response["text"] = ResponseText(format=form.model_dump(by_alias=True, exclude_none=True))
    return response


def kept_response(stored: StoredResponse, model: str) -> ResponseObject:
    """Returns a response as far as it was kept: what was said, how it ended and what it cost."""
    reply = stored.reply
    response = _response(stored.response_id, stored.begin_seconds, model)
    response["previous_response_id"] = stored.previous_id
    response["status"] = status = _STATUS.get(reply.finish_reason, "completed")
    if status == "incomplete":
        response["incomplete_details"] = IncompleteDetails(reason="max_output_tokens")
    if status == "failed":
        response["error"] = ResponseError(code="server_error", message="The model stopped working while it answered.")
    item: ItemStatus = "completed" if status == "completed" else "incomplete"
    response["output"] = [output_message(response, output_text(reply.content, []), item)]
    if reply.HasField("usage"):
        usage = reply.usage
        response["usage"] = _usage(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
    return response


def output_message(response: ResponseObject, text: OutputText | None, status: ItemStatus) -> OutputMessage:
    """Returns the item that a response puts out."""
    return OutputMessage(
        id=output_id(response["id"]),
        type="message",
        role="assistant",
        status=status,
        content=[] if text is None else [text],
    )


def output_id(response_id: str) -> str:
    """Returns the id of the item that a response puts out."""
    return response_id.replace("resp_", "msg_", 1)


def output_text(text: str, tokens: list[TokenLogprobs]) -> OutputText:
    """Returns the text of a response."""
    return OutputText(type="output_text", text=text, annotations=[], logprobs=tokens)


def ended_response(response: ResponseObject, text: OutputText, end: Ended) -> ResponseObject:
    """Returns a response that has ended, with all of its text and what it cost."""
    status: ItemStatus = "completed" if end.reason == "stop" else "incomplete"
    ended = response.copy()
    ended["status"] = status
    if status == "incomplete":
        ended["incomplete_details"] = IncompleteDetails(reason="max_output_tokens")
    ended["output"] = [output_message(response, text, status)]
    ended["usage"] = _usage(end.prompt_tokens, end.cached_tokens, end.completion_tokens)
    return ended


def _response(response_id: str, created_at: int, model: str) -> ResponseObject:
    """Returns a response of which nothing more is known."""
    return ResponseObject(
        id=response_id,
        object="response",
        created_at=created_at,
        status="in_progress",
        error=None,
        incomplete_details=None,
        instructions=None,
        max_output_tokens=None,
        metadata={},
        model=model,
        output=[],
        parallel_tool_calls=False,
        previous_response_id=None,
        store=True,
        temperature=None,
        text=ResponseText(format={"type": "text"}),
        tool_choice="none",
        tools=[],
        top_p=None,
        truncation="disabled",
        usage=None,
    )


def _usage(prompt: int, cached: int, completion: int) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=0),
        output_tokens=completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=prompt + completion,
    )
