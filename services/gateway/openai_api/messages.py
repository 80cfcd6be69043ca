"""The messages of a request, as a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from chatbot.v1.chat_message_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER, ChatMessage, Role
from services.gateway.context import alternating
from services.gateway.openai_api.schema import RequestModel
from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROLES: dict[str, Role] = {
    "system": ROLE_SYSTEM,
    "developer": ROLE_SYSTEM,
    "user": ROLE_USER,
    "assistant": ROLE_ASSISTANT,
}


class ContentPart(RequestModel):
    """A part of a message. Those of type `text` (or `input_text`, `output_text`) are taken, no others."""

    type: str
    text: str | None = None


class Message(RequestModel):
    """One message. `tool` and `function` are OpenAI's too, but refused: tools are not supported."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[Any] | None = None


def prompt_of(messages: Sequence[Message]) -> list[ChatMessage]:
    """Returns a request's messages as a prompt.

    Raises:
        InvalidArgument: See `read_messages` and `merged`.
    """
    return merged(read_messages(messages, "messages"), "messages")


def read_messages(messages: Sequence[Message], where: str) -> list[ChatMessage]:
    """Returns messages one by one.

    Args:
        messages: As they were sent.
        where: The field that has them.

    Raises:
        InvalidArgument: A message is not text, or of a role that is not supported.
    """
    if len(messages) > 1 and all(m.role == "assistant" for m in messages[-2:]):
        raise invalid_field(where, "must not end with two messages of the assistant")
    return [_read(message, f"{where}[{place}]") for place, message in enumerate(messages)]


def merged(messages: Sequence[ChatMessage], where: str) -> list[ChatMessage]:
    """Returns messages as a prompt: one system message at most, then user and assistant in turn.

    Models' templates take no other. System and developer messages are joined into the first place, in their order;
    messages of one role in a row are joined into one; empty ones are left out.

    Raises:
        InvalidArgument: There is nothing in them.
    """
    system = "\n\n".join(m.content for m in messages if m.role == ROLE_SYSTEM and m.content)
    spoken = alternating(m for m in messages if m.role != ROLE_SYSTEM)
    if not spoken and not system:
        raise invalid_field(where, "must not all be empty")
    opening = [ChatMessage(role=ROLE_SYSTEM, content=system)] if system else []
    return [*opening, *spoken]


def text_of(content: str | list[ContentPart] | None, where: str) -> str:
    """Returns the text of a message's content; that of several parts has each on lines of its own.

    Raises:
        InvalidArgument: It is missing, or not text.
    """
    if content is None:
        raise invalid_field(where, "must be a string or a list of text parts")
    if isinstance(content, str):
        text = content
    else:
        texts = []
        for place, part in enumerate(content):
            if part.type not in {"text", "input_text", "output_text"}:
                raise invalid_field(f"{where}[{place}].type", "must be text: the model reads nothing else")
            if part.text is None:
                raise invalid_field(f"{where}[{place}].text", "must be a string")
            texts.append(part.text)
        text = "\n".join(texts)
    if "\0" in text:
        raise invalid_field(where, "must not have NUL in it")
    return text


def _read(message: Message, where: str) -> ChatMessage:
    role = _ROLES.get(message.role)
    if role is None or message.tool_calls:
        raise invalid_field(
            f"{where}.{'role' if role is None else 'tool_calls'}", "is not supported: there are no tools"
        )
    author = message.name if role == ROLE_USER and message.name and "\0" not in message.name else None
    return ChatMessage(role=role, content=text_of(message.content, f"{where}.content"), author=author)
