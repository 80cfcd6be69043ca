"""A reply under way, as every endpoint sees it, wherever it comes from."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from chatbot.v1 import chat_message_pb2 as message_pb
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from chatbot.v1 import chat_service_pb2 as chat_pb
    from chatbot.v1 import inference_service_pb2 as inference_pb
    from chatbot.v1.chat_message_pb2 import GenerationTimings
    from chatbot.v1.inference_service_pb2 import TokenLogprob
    from services.gateway.http.metrics import Metrics

FinishReason: TypeAlias = Literal["stop", "length"]

_STOPPED = frozenset({message_pb.FINISH_REASON_EOS, message_pb.FINISH_REASON_STOP_STRING})
_FULL = frozenset({message_pb.FINISH_REASON_MAX_TOKENS, message_pb.FINISH_REASON_CONTEXT_FULL})


@dataclass(frozen=True, slots=True)
class Started:
    """The model has taken the request up."""

    model: str
    prompt_tokens: int
    cached_tokens: int
    conversation: str = ""
    """Resource name of the conversation that the reply is part of; empty where it is part of none."""
    response_id: str = ""
    """What the reply is gone on from by; empty where it cannot be."""


@dataclass(frozen=True, slots=True)
class Piece:
    """More of the reply."""

    text: str
    token_count: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The reply has ended."""

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    timings: GenerationTimings | None = None
    """Where the time went; None where that is not known."""


ReplyEvent: TypeAlias = Started | Piece | Ended


async def of_generation(
    events: AsyncGenerator[inference_pb.GenerateResponse, None], metrics: Metrics
) -> AsyncGenerator[ReplyEvent, None]:
    """Yields what the inference service generates."""
    async with aclosing(events):
        async for event in events:
            if event.HasField("started"):
                yield Started(event.started.model, event.started.prompt_tokens, event.started.cached_tokens)
            elif event.HasField("delta"):
                yield Piece(event.delta.text, event.delta.token_count, tuple(event.delta.logprobs))
            else:
                yield _ended(event.finished.finish_reason, event.finished.usage, event.finished.timings, metrics)


async def of_turn(
    events: AsyncGenerator[chat_pb.ChatResponse, None], model: str, metrics: Metrics
) -> AsyncGenerator[ReplyEvent, None]:
    """Yields what a turn of a conversation says.

    Args:
        events: The turn's.
        model: Id of the model; a turn that is replayed does not tell it.
        metrics: Where tokens are counted.
    """
    async with aclosing(events):
        async for event in events:
            if event.HasField("started"):
                started = event.started
                yield Started(
                    started.model or model, started.prompt_tokens, started.cached_tokens, started.conversation
                )
            elif event.HasField("delta"):
                yield Piece(event.delta.text, event.delta.token_count, tuple(event.delta.logprobs))
            else:
                reply = event.finished.message
                timings = event.finished.timings if event.finished.HasField("timings") else None
                yield _ended(reply.finish_reason, reply.usage, timings, metrics)


def _ended(
    reason: message_pb.FinishReason, usage: message_pb.Usage, timings: GenerationTimings | None, metrics: Metrics
) -> Ended:
    """Returns a reply's end.

    Raises:
        ChatbotError: It was no end of its own: the engine was lost, or the time was up.
    """
    metrics.used(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
    if reason == message_pb.FINISH_REASON_DEADLINE:
        raise errors.DeadlineExceeded("The reply was cut: its time was up.")
    if reason not in _STOPPED | _FULL:
        raise errors.EngineLost("The model stopped working while it answered.", retry_after=5.0)
    return Ended(
        "stop" if reason in _STOPPED else "length",
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        timings,
    )
