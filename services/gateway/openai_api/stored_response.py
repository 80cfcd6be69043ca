"""A response that was kept: a place in a conversation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatbot.v1 import memory_service_pb2 as memory_pb
    from chatbot.v1.chat_message_pb2 import ChatMessage

_ID = re.compile(r"resp_([A-Za-z0-9_-]{1,64})_([1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response, in the conversation that it is part of."""

    response_id: str
    conversation: memory_pb.Conversation
    messages: tuple[ChatMessage, ...]
    """All that the conversation shows, oldest first."""
    place: int
    """Of the reply among them."""

    @property
    def reply(self) -> ChatMessage:
        """What was replied."""
        return self.messages[self.place]

    @property
    def past(self) -> tuple[ChatMessage, ...]:
        """What was said up to the reply, it included."""
        return self.messages[: self.place + 1]

    @property
    def is_last(self) -> bool:
        """Whether nothing has been said since."""
        return self.place + 1 == len(self.messages)

    @property
    def begin_seconds(self) -> int:
        """When it was asked for, in seconds since 1970."""
        asked = [message for message in self.past if message.name == self.reply.reply_to]
        return asked[0].create_time.seconds if asked else self.reply.create_time.seconds

    @property
    def previous_id(self) -> str | None:
        """Id of the response before it in its conversation; None where it is the first."""
        before = self._reply_before
        return None if before is None else response_id_of(before.reply_to)

    @property
    def first_sequence(self) -> int:
        """Of its own messages: whatever was said since the response before it."""
        before = self._reply_before
        return 1 if before is None else before.sequence + 1

    @property
    def _reply_before(self) -> ChatMessage | None:
        # What a branch has taken along replies to nothing: it is part of the branch's first response.
        return next((m for m in reversed(self.messages[: self.place]) if m.reply_to), None)


def response_id_of(message: str) -> str:
    """Returns the id of the response to a message, given by its resource name."""
    _, conversation_id, _, message_id = message.split("/")
    return f"resp_{conversation_id}_{message_id}"


def message_of(response_id: str) -> str | None:
    """Returns the resource name of the message that a response is to; None where the id is none of ours."""
    found = _ID.match(response_id)
    return None if found is None else f"conversations/{found[1]}/messages/{found[2]}"
