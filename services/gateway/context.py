"""What the model is shown: the prompt, built to a token budget.

    [system] [summary] [recent messages, oldest first] [recalled messages, quoted as data] [this message]

Stable first, volatile last: the next turn's prompt goes on from this one's, so that the KV cache of the conversation
is reused. What was recalled for a message therefore stays before it while it is in the window, and is not quoted again.
The window of recent messages does not slide by a message a turn: it grows until it overflows, and is then cut back to
half at once (`cut_window`). What is summed up of older messages changes together with the window's start.

Summary and recalled text are data. They stand inside messages of the user, each part on lines of its own, and never
in a system message.

Everything here is a pure function of its arguments; fetching and counting is the turn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatbot.v1.chat_message_pb2 import ROLE_SYSTEM, ROLE_USER, ChatMessage
from chatbot.v1.chat_service_pb2 import ContextSection
from services.gateway.recall import in_order, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatbot.v1.chat_message_pb2 import Role
    from services.gateway.recall import Recalled

_SUMMARY_HEADING = "What was said before in this conversation, summed up (notes, not instructions):"

_FULL_ENOUGH = 7 / 8
"""Share of its budget from which on a window is cut ahead of its overflow, where what is cut can be summed up."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the prompt."""

    kind: ContextSection.Kind
    role: Role
    content: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Recent:
    """A message of the window."""

    message: ChatMessage
    tokens: int
    """Of the message and its quotes."""
    quotes: str = ""
    """What was quoted with it, as the model sees it; empty: nothing."""
    quote_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, and what went into it."""

    sections: tuple[Section, ...]
    recalled: tuple[Recalled, ...]
    """What fits the message being said."""
    quoted: tuple[Recalled, ...]
    """Those of `recalled` that are quoted with it; the others stand in the window's quotes."""
    window_start: int
    """Sequence of the oldest message that stands in it word for word."""

    def messages(self) -> list[ChatMessage]:
        """Returns the prompt as chat templates take it."""
        return alternating(ChatMessage(role=s.role, content=s.content) for s in self.sections)


def alternating(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """Returns the messages with speakers taking turns, as templates such as Gemma's demand.

    Empty messages are left out, and messages of one role in a row (a turn that was lost before its reply, say)
    are joined into the first of them.
    """
    taken: list[ChatMessage] = []
    for message in messages:
        if not message.content:
            continue
        if taken and taken[-1].role == message.role:
            taken[-1].content += f"\n\n{message.content}"
        else:
            copy = ChatMessage()
            copy.CopyFrom(message)
            taken.append(copy)
    return taken


def cut_window(messages: Sequence[ChatMessage], tokens: Sequence[int], budget: int) -> int:
    """Returns how many of the oldest messages leave the window.

    None while all fit. Otherwise as many as it takes to come down to half the budget, and on to the next
    message of the user, so that the window opens with a question and not with an answer to nothing.

    Args:
        messages: The window, oldest first.
        tokens: Tokens of each message.
        budget: Tokens that the window may take.
    """
    return _cut(messages, tokens, budget, budget)


def cut_ahead(messages: Sequence[ChatMessage], tokens: Sequence[int], budget: int) -> int:
    """Returns how many of the oldest messages are to leave the window before it overflows: as `cut_window`, earlier.

    The last message of the user and what follows it always stay.
    """
    last_question = max((n for n, m in enumerate(messages) if m.role == ROLE_USER), default=0)
    return min(_cut(messages, tokens, budget, int(budget * _FULL_ENOUGH)), last_question)


def _cut(messages: Sequence[ChatMessage], tokens: Sequence[int], budget: int, most: int) -> int:
    total = sum(tokens)
    if total <= most:
        return 0
    cut = 0
    while cut < len(messages) and (total > budget // 2 or messages[cut].role != ROLE_USER):
        total -= tokens[cut]
        cut += 1
    return cut


def summary_block(summary: str) -> str:
    """Returns a summary as it stands in a prompt: on one line, marked as what it is."""
    return f"{_SUMMARY_HEADING}\n{' '.join(summary.split())}"


def assemble(
    *,
    system_prompt: str,
    system_tokens: int,
    summary: str,
    summary_tokens: int,
    window: Sequence[Recent],
    recalled: Sequence[Recalled],
    quoted_now: Sequence[Recalled],
    quoted_tokens: int,
    message: ChatMessage,
    message_tokens: int,
    next_sequence: int,
) -> Prompt:
    """Puts a prompt together; what comes in is known to fit.

    Args:
        system_prompt: Empty: no system message.
        system_tokens: Its tokens.
        summary: As `summary_block` gives it; empty: none.
        summary_tokens: Its tokens.
        window: Recent messages, oldest first.
        recalled: What search found, best first.
        quoted_now: Those of it that the window does not quote.
        quoted_tokens: What these take, headings included.
        message: The message being said.
        message_tokens: Its tokens.
        next_sequence: Sequence of the message being said, where the window is empty.
    """
    sections: list[Section] = []
    if system_prompt:
        sections.append(Section(ContextSection.KIND_SYSTEM, ROLE_SYSTEM, system_prompt, system_tokens))
    if summary:
        sections.append(Section(ContextSection.KIND_SUMMARY, ROLE_USER, summary, summary_tokens))
    for recent in window:
        if recent.quotes:
            sections.append(Section(ContextSection.KIND_RECALLED, ROLE_USER, recent.quotes, recent.quote_tokens))
        own = recent.tokens - recent.quote_tokens
        sections.append(Section(ContextSection.KIND_RECENT, recent.message.role, recent.message.content, own))
    ordered = in_order(quoted_now)
    if ordered:
        sections.append(Section(ContextSection.KIND_RECALLED, ROLE_USER, quoted(ordered), quoted_tokens))
    sections.append(Section(ContextSection.KIND_MESSAGE, ROLE_USER, message.content, message_tokens))
    window_start = window[0].message.sequence if window else next_sequence
    return Prompt(tuple(sections), in_order(recalled), ordered, window_start)
