"""Protobuf to values and back: the only module of the client that knows both sides."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chatbot.v1 import chat_message_pb2, chat_service_pb2, inference_service_pb2, memory_service_pb2
from client import values

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_PLAIN_SAMPLING_FIELDS = tuple(f.name for f in fields(values.SamplingConfig) if f.name != "stop")


def to_sampling(sampling: values.SamplingConfig) -> inference_service_pb2.SamplingConfig:
    """Returns the proto, with the fields set that are not None.

    Raises:
        ValueError: A whole number does not fit its field.
    """
    message = inference_service_pb2.SamplingConfig(stop=sampling.stop)
    for name in _PLAIN_SAMPLING_FIELDS:
        value = getattr(sampling, name)
        if value is not None:
            setattr(message, name, value)
    return message


def from_sampling(message: inference_service_pb2.SamplingConfig) -> values.SamplingConfig:
    """Returns the value, with None for fields that are not set."""
    given = {name: getattr(message, name) for name in _PLAIN_SAMPLING_FIELDS if message.HasField(name)}
    return values.SamplingConfig(stop=tuple(message.stop), **given)


def to_recall(recall: values.RecallConfig) -> chat_service_pb2.RecallConfig:
    """Returns the proto, with the fields set that are not None."""
    return chat_service_pb2.RecallConfig(
        enabled=recall.enabled,
        limit=recall.limit,
        max_tokens=recall.max_tokens,
        min_similarity=recall.min_similarity,
        min_word_share=recall.min_word_share,
    )


def to_filter(narrowing: values.MessageFilter) -> memory_service_pb2.MessageFilter:
    """Returns the proto."""
    return memory_service_pb2.MessageFilter(
        roles=[f"ROLE_{role.name}" for role in narrowing.roles],
        authors=narrowing.authors,
        start_time=narrowing.start_time,
        end_time=narrowing.end_time,
    )


def to_message(message: values.NewMessage) -> chat_message_pb2.ChatMessage:
    """Returns the proto.

    Raises:
        ValueError: A count does not fit its field.
    """
    usage = message.usage
    return chat_message_pb2.ChatMessage(
        role=f"ROLE_{message.role.name}",
        content=message.content,
        author=message.author,
        create_time=message.create_time,
        finish_reason=f"FINISH_REASON_{message.finish_reason.name}",
        usage=None
        if usage is None
        else chat_message_pb2.Usage(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        ),
    )


def from_message(message: chat_message_pb2.ChatMessage) -> values.Message:
    """Returns the value."""
    return values.Message(
        name=message.name,
        role=_role(message.role),
        content=message.content,
        create_time=_time(message.create_time) if message.HasField("create_time") else None,
        sequence=message.sequence,
        author=message.author if message.HasField("author") else None,
        finish_reason=_finish_reason(message.finish_reason),
        usage=_usage(message.usage) if message.HasField("usage") else None,
        reply_to=message.reply_to,
        superseded=message.superseded,
        request_id=message.request_id,
    )


def from_conversation(message: memory_service_pb2.Conversation) -> values.Conversation:
    """Returns the value."""
    return values.Conversation(
        name=message.name,
        title=message.title,
        system_prompt=message.system_prompt,
        create_time=_time(message.create_time) if message.HasField("create_time") else None,
        update_time=_time(message.update_time) if message.HasField("update_time") else None,
        last_sequence=message.last_sequence,
        message_count=message.message_count,
        window_start_sequence=message.window_start_sequence,
        summary=message.summary,
        summary_through_sequence=message.summary_through_sequence,
    )


def from_hit(message: memory_service_pb2.SearchHit) -> values.SearchHit:
    """Returns the value."""
    return values.SearchHit(
        message=from_message(message.message),
        score=message.score,
        similarity=message.similarity,
        word_share=message.word_share,
        dense=message.dense,
        lexical=message.lexical,
        prior=message.prior,
        before=tuple(from_message(one) for one in message.before),
        after=tuple(from_message(one) for one in message.after),
    )


def from_model(message: inference_service_pb2.Model) -> values.Model:
    """Returns the value."""
    return values.Model(
        id=message.id,
        weights=message.weights,
        description=message.description,
        languages=tuple(message.languages),
        context_tokens=message.context_tokens,
        device=message.device,
        parameters=message.parameters,
        architecture=message.architecture,
        default_sampling=from_sampling(message.default_sampling),
    )


def from_started(message: chat_service_pb2.ReplyStarted) -> values.ReplyStarted:
    """Returns the value."""
    return values.ReplyStarted(
        conversation=message.conversation,
        message=from_message(message.message),
        model=message.model,
        sampling=from_sampling(message.sampling) if message.HasField("sampling") else None,
        prompt_tokens=message.prompt_tokens,
        cached_tokens=message.cached_tokens,
        recalled=tuple(from_hit(hit) for hit in message.recalled),
        replayed=message.replayed,
    )


def from_finished(message: chat_service_pb2.ReplyFinished) -> values.ReplyFinished:
    """Returns the value."""
    timings = message.timings
    return values.ReplyFinished(
        message=from_message(message.message),
        timings=values.GenerationTimings(
            queue_seconds=timings.queue_time.ToTimedelta().total_seconds(),
            prefill_seconds=timings.prefill_time.ToTimedelta().total_seconds(),
            decode_seconds=timings.decode_time.ToTimedelta().total_seconds(),
            tokens_per_second=timings.tokens_per_second,
        )
        if message.HasField("timings")
        else None,
    )


def from_context(message: chat_service_pb2.GetContextResponse) -> values.Context:
    """Returns the value."""
    return values.Context(
        sections=tuple(
            values.ContextSection(_section_kind(s.kind), _role(s.role), s.content, s.token_count)
            for s in message.sections
        ),
        prompt_tokens=message.prompt_tokens,
        context_tokens=message.context_tokens,
        recalled=tuple(from_hit(hit) for hit in message.recalled),
        window_start_sequence=message.window_start_sequence,
    )


def _usage(message: chat_message_pb2.Usage) -> values.Usage:
    return values.Usage(message.prompt_tokens, message.cached_tokens, message.completion_tokens)


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)


# A newer server may send an enum value that this client does not know: it reads as "unspecified".


def _role(number: int) -> values.Role:
    return next((kind for kind in values.Role if kind.value == number), values.Role.UNSPECIFIED)


def _finish_reason(number: int) -> values.FinishReason:
    return next((kind for kind in values.FinishReason if kind.value == number), values.FinishReason.UNSPECIFIED)


def _section_kind(number: int) -> values.SectionKind:
    return next((kind for kind in values.SectionKind if kind.value == number), values.SectionKind.UNSPECIFIED)
