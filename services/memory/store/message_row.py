"""One message as a row, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.memory.message import FinishReason, Message, Role, Usage
from services.memory.resource_name import parse_message
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
    _m.quotes,
    _m.quotes_start,
)
"""What `message_of` reads."""
# Looked up in a tenth of the time that an enumeration takes to find a member by its value.
_ROLES = {int(role): role for role in Role}
_FINISH_REASONS = {int(reason): reason for reason in FinishReason}


def values_of(message: Message) -> dict[str, object]:
    """Returns the row of a message, without its id."""
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
        "quotes": " ".join(map(str, message.quotes)),
        "quotes_start": message.quotes_start,
    }


def message_of(row: Sequence[Any]) -> Message:
    """Returns the message of a row of `COLUMNS`."""
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
        quotes,
        quotes_start,
    ) = row
    return Message(
        conversation_id,
        sequence,
        _ROLES[role],
        content,
        author,
        create_ns,
        _FINISH_REASONS[finish_reason],
        None if prompt_tokens is None else Usage(prompt_tokens, cached_tokens, completion_tokens),
        reply_to,
        bool(superseded),
        request_id,
        tuple(parse_message("quotes", name) for name in quotes.split()) if quotes else (),
        quotes_start,
    )
