"""One message, as stored and as it comes in, and what narrows a list of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from services.memory.resource_name import MessageName


class Role(IntEnum):
    """Who a message speaks as. Numbered as in the proto."""

    SYSTEM = 1
    USER = 2
    ASSISTANT = 3


class FinishReason(IntEnum):
    """Why a reply ended. Numbered as in the proto."""

    UNSPECIFIED = 0
    EOS = 1
    STOP_STRING = 2
    MAX_TOKENS = 3
    CONTEXT_FULL = 4
    DEADLINE = 5
    CANCELLED = 6
    ENGINE_LOST = 7


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply cost, in tokens."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message before it has a place. `create_ns` is None where the store is to set it."""

    role: Role
    content: str
    author: str | None = None
    create_ns: int | None = None
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    usage: Usage | None = None
    reply_to: MessageName | None = None
    quotes: tuple[MessageName, ...] = ()
    quotes_start: int = 0


class Message(NamedTuple):
    """A stored message. A search makes ten or more: named tuples are made in a fifth of a dataclass's time.

    Attributes:
        sequence: Place in the conversation, from 1.
        create_ns: When it was said, in nanoseconds since 1970.
        reply_to: Sequence of the message of the same conversation that it replies to.
        superseded: Whether a later message took its place.
        request_id: Of the write that stored it.
        quotes: Messages that were quoted to the model for it; they need not be there any more.
        quotes_start: Sequence of the first reply whose quotes still stood in its prompt.
    """

    conversation_id: str
    sequence: int
    role: Role
    content: str
    author: str | None
    create_ns: int
    finish_reason: FinishReason
    usage: Usage | None
    reply_to: int | None
    superseded: bool
    request_id: str
    quotes: tuple[MessageName, ...] = ()
    quotes_start: int = 0

    @property
    def name(self) -> MessageName:
        """Its resource name."""
        return MessageName(self.conversation_id, self.sequence)


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Narrows a list or a search; what is empty or None does not narrow.

    Attributes:
        start_ns: Only messages created then or later, in nanoseconds since 1970.
        end_ns: Only messages created before then.
    """

    roles: frozenset[Role] = frozenset()
    authors: frozenset[str] = frozenset()
    start_ns: int | None = None
    end_ns: int | None = None


NO_FILTER = MessageFilter()


@dataclass(frozen=True, slots=True)
class MessageRange:
    """A stretch of one conversation, both ends included; `end_sequence` None: to the end."""

    conversation_id: str
    start_sequence: int
    end_sequence: int | None


@dataclass(frozen=True, slots=True)
class Append:
    """Messages to be appended to a conversation, oldest first.

    Attributes:
        expected_last_sequence: Where set, the conversation's last sequence must be this.
        supersede_from_sequence: Where set, stored messages from here on are superseded.
    """

    conversation_id: str
    drafts: tuple[MessageDraft, ...]
    expected_last_sequence: int | None = None
    supersede_from_sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append stored; `replayed` where an earlier call with this `request_id` had stored it."""

    messages: tuple[Message, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """Which messages of a conversation to list.

    Attributes:
        start_sequence: Only messages with this sequence or a later one.
        after: Sequence that the page before ended with; None for the first page.
        limit: Most messages to return.
    """

    conversation_id: str
    limit: int
    newest_first: bool = False
    filter: MessageFilter = NO_FILTER
    start_sequence: int = 0
    include_superseded: bool = False
    after: int | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of messages; `more` where another follows."""

    messages: tuple[Message, ...]
    more: bool
