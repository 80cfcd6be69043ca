"""A message as a row of the database, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.memory.message import FinishReason, Message, Role, Usage
from services.memory.store.tables import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

_m = messages.c
COLUMNS = (
    _m.id,
    _m.conversation_id,
    _m.sequence,
    _m.role,
    _m.content,
    _m.author,
    _m.create_ns,
    _m.finish_reason,
    _m.prompt_tokens,
    _m.cached_tokens,
    _m.completion_tokens,
    _m.reply_to,
    _m.superseded,
    _m.request_id,
)
"""What `message_of_row` is given, in this order."""


def message_of_row(row: Sequence[Any]) -> Message:
    """Returns the message that the values of `COLUMNS` stand for."""
    (
        _id,
        conversation_id,
        sequence,
        role,
        content,
        author,
        create_ns,
        finish_reason,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        reply_to,
        superseded,
        request_id,
    ) = row
    usage = None if prompt_tokens is None else Usage(prompt_tokens, cached_tokens, completion_tokens)
    return Message(
        conversation_id,
        sequence,
        Role(role),
        content,
        author,
        create_ns,
        FinishReason(finish_reason),
        usage,
        reply_to,
        bool(superseded),
        request_id,
    )


def values_of(message: Message) -> dict[str, object]:
    """Returns what is stored of a message, by column; the database gives the id."""
    usage = message.usage
    return {
        "conversation_id": message.conversation_id,
        "sequence": message.sequence,
        "role": int(message.role),
        "content": message.content,
        "size": len(message.content.encode()),
        "author": message.author,
        "create_ns": message.create_ns,
        "finish_reason": int(message.finish_reason),
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "cached_tokens": None if usage is None else usage.cached_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
        "reply_to": message.reply_to,
        "superseded": message.superseded,
        "request_id": message.request_id,
    }
