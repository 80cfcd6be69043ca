"""Domain values to protobuf, for what the service answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from chatbot.v1 import chat_message_pb2, memory_service_pb2
from services.memory.conversation import TitleSource
from services.memory.message import FinishReason, Message, Role
from services.memory.resource_name import MessageName, conversation_name

if TYPE_CHECKING:
    from services.memory.conversation import Conversation
    from services.memory.embedder.facts import EmbedderFacts
    from services.memory.embedding_queue import EmbeddingProgress
    from services.memory.index_cache import IndexCache
    from services.memory.inspection import Statistics
    from services.memory.search import Hit

_ROLES = {
    Role.SYSTEM: chat_message_pb2.ROLE_SYSTEM,
    Role.USER: chat_message_pb2.ROLE_USER,
    Role.ASSISTANT: chat_message_pb2.ROLE_ASSISTANT,
}

_TITLE_SOURCES = {
    TitleSource.UNSPECIFIED: memory_service_pb2.TITLE_SOURCE_UNSPECIFIED,
    TitleSource.USER: memory_service_pb2.TITLE_SOURCE_USER,
    TitleSource.FIRST_MESSAGE: memory_service_pb2.TITLE_SOURCE_FIRST_MESSAGE,
    TitleSource.MODEL: memory_service_pb2.TITLE_SOURCE_MODEL,
}

_FINISH_REASONS = {
    FinishReason.UNSPECIFIED: chat_message_pb2.FINISH_REASON_UNSPECIFIED,
    FinishReason.EOS: chat_message_pb2.FINISH_REASON_EOS,
    FinishReason.STOP_STRING: chat_message_pb2.FINISH_REASON_STOP_STRING,
    FinishReason.MAX_TOKENS: chat_message_pb2.FINISH_REASON_MAX_TOKENS,
    FinishReason.CONTEXT_FULL: chat_message_pb2.FINISH_REASON_CONTEXT_FULL,
    FinishReason.DEADLINE: chat_message_pb2.FINISH_REASON_DEADLINE,
    FinishReason.CANCELLED: chat_message_pb2.FINISH_REASON_CANCELLED,
    FinishReason.ENGINE_LOST: chat_message_pb2.FINISH_REASON_ENGINE_LOST,
}


def timestamp(nanoseconds: int) -> Timestamp:
    """Returns nanoseconds since 1970 as a timestamp."""
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def conversation(stored: Conversation) -> memory_service_pb2.Conversation:
    """Returns a conversation as clients see it."""
    return memory_service_pb2.Conversation(
        name=conversation_name(stored.id),
        title=stored.title,
        system_prompt=stored.system_prompt,
        create_time=timestamp(stored.create_ns),
        update_time=timestamp(stored.update_ns),
        last_sequence=stored.last_sequence,
        message_count=stored.message_count,
        window_start_sequence=stored.window_start_sequence,
        expire_time=None if stored.expire_ns is None else timestamp(stored.expire_ns),
        summary=stored.summary.text,
        summary_through_sequence=stored.summary.through_sequence,
        title_source=_TITLE_SOURCES[stored.title_source],
    )


def message(stored: Message) -> chat_message_pb2.ChatMessage:
    """Returns a message as clients see it."""
    usage = stored.usage
    return chat_message_pb2.ChatMessage(
        name=str(stored.name),
        role=_ROLES[stored.role],
        content=stored.content,
        author=stored.author,
        create_time=timestamp(stored.create_ns),
        sequence=stored.sequence,
        finish_reason=_FINISH_REASONS[stored.finish_reason],
        usage=None
        if usage is None
        else chat_message_pb2.Usage(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        ),
        reply_to="" if stored.reply_to is None else str(MessageName(stored.conversation_id, stored.reply_to)),
        superseded=stored.superseded,
        request_id=stored.request_id,
        quotes=[str(name) for name in stored.quotes],
        quotes_start_sequence=stored.quotes_start,
    )


def hit(found: Hit) -> memory_service_pb2.SearchHit:
    """Returns a hit as clients see it."""
    why = found.scored
    return memory_service_pb2.SearchHit(
        message=message(found.message),
        score=why.dense + why.lexical + why.prior,
        similarity=why.similarity,
        word_share=why.word_share,
        dense=why.dense,
        lexical=why.lexical,
        prior=why.prior,
        before=[message(stored) for stored in found.before],
        after=[message(stored) for stored in found.after],
    )


def status(
    found: Statistics, embedder: EmbedderFacts, progress: EmbeddingProgress, indexes: IndexCache
) -> memory_service_pb2.GetStatusResponse:
    """Returns the state of the service as operators see it."""
    return memory_service_pb2.GetStatusResponse(
        database=memory_service_pb2.DatabaseStatus(
            user_count=found.users,
            conversation_count=found.conversations,
            message_count=found.messages,
            superseded_message_count=found.superseded,
            text_bytes=found.text_bytes,
            database_bytes=found.database_bytes,
        ),
        embedding=memory_service_pb2.EmbeddingStatus(
            embedder=embedder.id,
            dimension=embedder.dimension,
            embedded_message_count=dict(found.vectors).get(embedder.id, 0),
            pending_message_count=found.pending,
            messages_per_second=progress.messages_per_second,
            problem=progress.problem,
            vectors=[
                memory_service_pb2.EmbeddingStatus.Vectors(embedder=name, count=count) for name, count in found.vectors
            ],
        ),
        index_cache=memory_service_pb2.IndexCacheStatus(
            user_count=len(indexes.users()), size_bytes=indexes.size, capacity_bytes=indexes.capacity
        ),
    )
