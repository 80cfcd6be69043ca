"""The recent messages of a conversation as prompts have them, each with what was quoted to the model with it.

What was recalled for a turn stays where it was said: the next turn's prompt goes on from the whole of this one's, and
the KV cache holds it all. A reply's `quotes` say which messages those were; their text is read anew, so that one that
is deleted is in no prompt from then on. Where the window overflows, all quotes leave it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import ROLE_ASSISTANT, ROLE_USER, ChatMessage
from services.gateway import recall
from services.gateway.context import alternating

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.gateway.peers import MemoryPeer

_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the window. `quotes`: what was quoted with it, in the order it stands in."""

    message: ChatMessage
    quotes: tuple[recall.Recalled, ...] = ()

    @property
    def block(self) -> str:
        """The quotes as the model sees them; empty: none."""
        return recall.quoted(self.quotes) if self.quotes else ""

    def whole(self) -> ChatMessage:
        """Returns the message together with its quotes, as it is counted."""
        if not self.quotes:
            return self.message
        return ChatMessage(role=self.message.role, content=f"{self.block}\n\n{self.message.content}")


async def read_window(
    memory: MemoryPeer,
    user_id: str,
    conversation: memory_pb.Conversation,
    *,
    start: int,
    before_sequence: int | None,
    time_left: float | None,
    with_quotes: bool,
) -> list[Said]:
    """Returns the messages from the window's start on, oldest first, user and assistant in turn.

    Args:
        memory: Where they are.
        user_id: Whose.
        conversation: Of which conversation.
        start: Sequence of the first one.
        before_sequence: Only messages before this one; None: all of them.
        time_left: Seconds for each call; None: no bound but its own.
        with_quotes: Whether they come with their quotes.
    """
    messages: list[ChatMessage] = []
    if not conversation.name or conversation.last_sequence == 0:
        return []
    request = memory_pb.ListMessagesRequest(
        user_id=user_id, conversation=conversation.name, page_size=_PAGE_SIZE, start_sequence=start
    )
    while True:
        page = await memory.call(memory.stub.ListMessages, request, time_left)
        messages += page.messages
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    # System messages of an imported conversation are its record, not its instructions.
    spoken = alternating(
        m
        for m in messages
        if m.role in {ROLE_USER, ROLE_ASSISTANT} and (before_sequence is None or m.sequence < before_sequence)
    )
    if spoken and spoken[0].role == ROLE_ASSISTANT:
        del spoken[0]
    start_of_quotes = quotes_start(spoken)
    quoted = await _quoted(memory, user_id, spoken, time_left) if with_quotes else {}
    # After each message of the user's comes the reply that names what was quoted with it.
    replies = [*spoken[1:], ChatMessage()]
    said: list[Said] = []
    for message, reply in zip(spoken, replies, strict=False):
        shown = message.role == ROLE_USER and reply.sequence >= start_of_quotes
        names = [name for name in reply.quotes if shown and name in quoted]
        said.append(Said(message, tuple(recall.again(quoted[name], message.content) for name in names)))
    return said


def quotes_start(spoken: Iterable[ChatMessage]) -> int:
    """Returns the sequence from which on replies have their quotes in prompts."""
    return max((message.quotes_start_sequence for message in spoken), default=0)


async def _quoted(
    memory: MemoryPeer, user_id: str, spoken: Sequence[ChatMessage], time_left: float | None
) -> dict[str, ChatMessage]:
    """Returns the messages that replies were given with quotes of, by name, as far as they are still there."""
    start = quotes_start(spoken)
    names = list(dict.fromkeys(name for m in spoken if m.sequence >= start for name in m.quotes))
    found: dict[str, ChatMessage] = {}
    while names:
        asked, names = names[:_PAGE_SIZE], names[_PAGE_SIZE:]
        request = memory_pb.BatchGetMessagesRequest(user_id=user_id, names=asked)
        response = await memory.call(memory.stub.BatchGetMessages, request, time_left)
        found |= {message.name: message for message in response.messages}
    return found
