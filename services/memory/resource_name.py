"""Resource names (https://google.aip.dev/122): `conversations/{conversation}/messages/{message}`.

A message's id is its sequence, so a name says where the message stands. A name is well-formed whatever ids it
holds; whether it names anything is the store's to say.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from services.rpc.errors import invalid_field

_CONVERSATION = re.compile(r"conversations/([A-Za-z0-9_-]{1,64})")
_MESSAGE = re.compile(r"conversations/([A-Za-z0-9_-]{1,64})/messages/([A-Za-z0-9_-]{1,64})")
_SEQUENCE = re.compile(r"[1-9][0-9]{0,17}")


class MessageName(NamedTuple):
    """Names one message. `sequence` is 0 where the name is well-formed but can be no message's."""

    conversation_id: str
    sequence: int

    def __str__(self) -> str:
        return message_name(self.conversation_id, self.sequence)


def conversation_name(conversation_id: str) -> str:
    """Returns the resource name of a conversation."""
    return f"conversations/{conversation_id}"


def message_name(conversation_id: str, sequence: int) -> str:
    """Returns the resource name of a message."""
    return f"conversations/{conversation_id}/messages/{sequence}"


def parse_conversation(field: str, name: str) -> str:
    """Returns the conversation's id.

    Raises:
        InvalidArgument: `name`, the value of `field`, is malformed.
    """
    match = _CONVERSATION.fullmatch(name)
    if match is None:
        raise invalid_field(field, "must have the form conversations/{conversation}")
    return match[1]


def parse_message(field: str, name: str) -> MessageName:
    """Returns which message it is.

    Raises:
        InvalidArgument: `name`, the value of `field`, is malformed.
    """
    match = _MESSAGE.fullmatch(name)
    if match is None:
        raise invalid_field(field, "must have the form conversations/{conversation}/messages/{message}")
    return MessageName(match[1], int(match[2]) if _SEQUENCE.fullmatch(match[2]) else 0)
