"""What was recalled for a reply, and where to read more of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from client.errors import ChatbotError
from client.terminal.text import shortened
from client.values import Role

if TYPE_CHECKING:
    from datetime import datetime

    from client.terminal.conversation_list import ConversationList
    from client.terminal.messages import Words
    from client.values import Message, SearchHit

_LEAST_TEXT_COLUMNS = 12


def when(time: datetime | None) -> str:
    """Returns a time as lists show it, in the person's own time zone."""
    return f"{time.astimezone():%Y-%m-%d %H:%M}" if time is not None else " " * 16


def speaker(message: Message, words: Words) -> str:
    """Returns who said a message."""
    return message.author or role_name(message.role, words)


def role_name(role: Role, words: Words) -> str:
    """Returns what a role is called."""
    return words({Role.USER: "you", Role.ASSISTANT: "model"}.get(role, "system"))


async def recalled_lines(
    hits: tuple[SearchHit, ...], conversations: ConversationList, words: Words, columns: int | None
) -> list[str]:
    """Returns a line for each message that was recalled, with the command that opens its conversation.

    Args:
        hits: What was recalled.
        conversations: Gives the numbers.
        words: The language.
        columns: How long a line may be, in columns of the terminal; None: as long as the message is.
    """
    lines = []
    for hit in hits:
        message = hit.message
        try:
            number = await conversations.number_of(message.conversation)
            hint = "  " + words("open_hint", number=number)
        except ChatbotError:  # deleted meanwhile, or out of reach: the text is worth showing all the same
            hint = ""
        told = {"when": when(message.create_time)[:10].strip(), "speaker": speaker(message, words)}
        text = message.content
        if columns is not None:
            frame = cell_len(words("recalled", text="", **told)) + cell_len(hint)
            text = shortened(text, max(columns - frame, _LEAST_TEXT_COLUMNS))
        lines.append(words("recalled", text=" ".join(text.split()), **told) + hint)
    return lines
