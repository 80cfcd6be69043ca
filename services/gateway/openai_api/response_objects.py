"""`POST /v1/responses`: what is answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict

from services.gateway.openai_api.logprobs import TokenLogprobs

if TYPE_CHECKING:
    from services.gateway.openai_api.reply import Ended
    from services.gateway.openai_api.response_request import ResponseRequest

Status = Literal["in_progress", "completed", "incomplete"]


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
    status: Status
    content: list[OutputText]


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
    error: None
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
    return ResponseObject(
        id=response_id,
        object="response",
        created_at=int(time.time()),
        status="in_progress",
        error=None,
        incomplete_details=None,
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        metadata=dict(asked.metadata or {}),
        model=model,
        output=[],
        parallel_tool_calls=False,
        previous_response_id=asked.previous_response_id,
        store=asked.is_stored,
        temperature=asked.temperature,
        text=ResponseText(
            format={"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)
        ),
        tool_choice="none",
        tools=[],
        top_p=asked.top_p,
        truncation="disabled",
        usage=None,
    )


def output_message(response: ResponseObject, text: OutputText | None, status: Status) -> OutputMessage:
    """Returns the item that a response puts out."""
    return OutputMessage(
        id=response["id"].replace("resp_", "msg_", 1),
        type="message",
        role="assistant",
        status=status,
        content=[] if text is None else [text],
    )


def output_text(text: str, tokens: list[TokenLogprobs]) -> OutputText:
    """Returns the text of a response."""
    return OutputText(type="output_text", text=text, annotations=[], logprobs=tokens)


def ended_response(response: ResponseObject, text: OutputText, end: Ended) -> ResponseObject:
    """Returns a response that has ended, with all of its text and what it cost."""
    status: Status = "completed" if end.reason == "stop" else "incomplete"
    ended = response.copy()
    ended["status"] = status
    if status == "incomplete":
        ended["incomplete_details"] = IncompleteDetails(reason="max_output_tokens")
    ended["output"] = [output_message(response, text, status)]
    ended["usage"] = ResponseUsage(
        input_tokens=end.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=end.cached_tokens, cache_write_tokens=0),
        output_tokens=end.completion_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=end.prompt_tokens + end.completion_tokens,
    )
    return ended
