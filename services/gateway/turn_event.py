"""What a turn tells as it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from chatbot.v1 import chat_service_pb2 as chat_pb
from services.gateway.history import conversation_of

if TYPE_CHECKING:
    from chatbot.v1.chat_message_pb2 import ChatMessage

TurnEvent: TypeAlias = chat_pb.ReplyStarted | chat_pb.ReplyDelta | chat_pb.ReplyFinished


def replay(message: ChatMessage, reply: ChatMessage) -> list[TurnEvent]:
    """Returns the events of a turn whose outcome was stored earlier."""
    events: list[TurnEvent] = [
        chat_pb.ReplyStarted(conversation=conversation_of(message), message=message, replayed=True)
    ]
    if reply.content:
        events.append(chat_pb.ReplyDelta(text=reply.content, token_count=max(reply.usage.completion_tokens, 1)))
    events.append(chat_pb.ReplyFinished(message=reply))
    return events
