"""One conversation, as stored and as it comes in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.memory.message import MessageDraft


class TitleSource(IntEnum):
    """Where a title comes from. Numbered as in the proto."""

    UNSPECIFIED = 0
    USER = 1
    FIRST_MESSAGE = 2
    MODEL = 3


@dataclass(frozen=True, slots=True)
class Summary:
    """What was said up to a sequence, in a model's words; empty, up to 0: nothing is summarised."""

    text: str
    through_sequence: int


NO_SUMMARY = Summary("", 0)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A stored conversation. Times are nanoseconds since 1970.

    Attributes:
        last_sequence: Sequence of its last message; 0 where it has none.
        message_count: Messages that are not superseded.
        window_start_sequence: Sequence of the oldest message that prompts hold word for word.
        expire_ns: From when on it is gone; None: never.
    """

    id: str
    title: str
    system_prompt: str
    create_ns: int
    update_ns: int
    last_sequence: int
    message_count: int
    window_start_sequence: int
    expire_ns: int | None = None
    summary: Summary = NO_SUMMARY
    title_source: TitleSource = TitleSource.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class ConversationDraft:
    """A conversation before it is started. `expire_ns`: from when on it is gone; None: never."""

    title: str
    system_prompt: str
    expire_ns: int | None = None
    title_source: TitleSource = TitleSource.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Expiry:
    """From when on a conversation is gone, in nanoseconds since 1970; None: never."""

    at_ns: int | None


@dataclass(frozen=True, slots=True)
class ExpectedState:
    """What a conversation must be like for a change to be made; None: anything."""

    window_start_sequence: int | None = None
    summary_through_sequence: int | None = None
    title_source: TitleSource | None = None


ANY_STATE = ExpectedState()


@dataclass(frozen=True, slots=True)
class ConversationChange:
    """New values of a conversation's fields; None leaves a field as it is."""

    title: str | None = None
    system_prompt: str | None = None
    window_start_sequence: int | None = None
    expiry: Expiry | None = None
    summary: Summary | None = None
    title_source: TitleSource | None = None
    expected: ExpectedState = ANY_STATE


@dataclass(frozen=True, slots=True)
class ConversationCursor:
    """The conversation that a page ended with."""

    update_ns: int
    id: str


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """A page of conversations; `more` where another follows."""

    conversations: tuple[Conversation, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """A message of an import, with whether it is superseded, and what first stored it; None: the import does."""

    draft: MessageDraft
    reply_to: int | None
    superseded: bool
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ImportedConversation:
    """A conversation of an import and its messages, oldest first. Times are nanoseconds; None: now."""

    draft: ConversationDraft
    create_ns: int | None
    update_ns: int | None
    window_start_sequence: int
    messages: tuple[ImportedMessage, ...]
    summary: Summary = NO_SUMMARY


@dataclass(frozen=True, slots=True)
class Counts:
    """How many conversations and messages a write was about."""

    conversations: int
    messages: int
