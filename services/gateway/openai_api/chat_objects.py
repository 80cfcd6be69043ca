"""`POST /v1/chat/completions`: what is answered."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from services.gateway.openai_api.logprobs import ChoiceLogprobs
from services.gateway.openai_api.reply import FinishReason
from services.gateway.openai_api.timings import Timings
from services.gateway.openai_api.usage import Usage


class AssistantMessage(TypedDict):
    """A whole reply."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(TypedDict):
    """One of the replies."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(TypedDict):
    """Whole replies."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    timings: NotRequired[Timings]
    conversation: NotRequired[str]


class ChatDelta(TypedDict, total=False):
    """More of a reply: first its role, then text, at last nothing."""

    role: Literal["assistant"]
    content: str | None


class ChatChunkChoice(TypedDict):
    """More of one of the replies."""

    index: int
    delta: ChatDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(TypedDict):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage | None]
    timings: NotRequired[Timings]
    conversation: NotRequired[str]
