"""Keeps what people wrote from being control tokens where a server applies the chat template.

A conversation that spells one is rendered with marks in place of what was written. What the template wrote between the
marks is then encoded with its control tokens, and what people wrote without any.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Protocol

from services.inference.engine.protocol import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_ONCE = 8
"""Calls for one prompt that run at the same time."""

_LOOKS_LIKE_CONTROL = re.compile(r"<.+>|\[.+\]", re.DOTALL)


class TemplateEncoder(Protocol):
    """What a server can do with templates and texts."""

    async def render(self, messages: tuple[Message, ...]) -> str:
        """Returns a conversation as the template writes it."""

    async def encode_template(self, part: str, *, first: bool) -> tuple[int, ...]:
        """Encodes what the template wrote, control tokens included; the model's opening token before the first part."""

    async def encode_letters(self, text: str) -> tuple[int, ...]:
        """Encodes what somebody wrote, without control tokens."""


def written(messages: tuple[Message, ...]) -> str:
    """Returns all that people wrote, a text a line, as templates mostly have them apart."""
    return "\n".join(text for m in messages for text in (m.content, m.author or ""))


def look_alikes(tokens: Sequence[str]) -> frozenset[str]:
    """Returns those of some tokens that have the form of control tokens: `<|im_end|>`, `</s>`, `[INST]`."""
    return frozenset(token for token in tokens if _LOOKS_LIKE_CONTROL.fullmatch(token))


def broken_up(text: str, controls: frozenset[str]) -> list[str]:
    """Returns a text in pieces, cut after the first character of whatever spells one of some tokens."""
    if not controls:
        return [text]
    cuts = "|".join(f"(?<={re.escape(token[0])})(?={re.escape(token[1:])})" for token in sorted(controls))
    return re.split(cuts, text)


async def encode_apart(encoder: TemplateEncoder, messages: tuple[Message, ...]) -> tuple[int, ...]:
    """Encodes a conversation, what the template writes and what people wrote each by itself."""
    marks: dict[str, str] = {}

    def mark(text: str) -> str:
        name = secrets.token_hex(16)
        marks[name] = text
        return name

    marked = tuple(Message(m.role, mark(m.content), mark(m.author) if m.author else None) for m in messages)
    parts = re.split(f"({'|'.join(marks)})", await encoder.render(marked))
    places = asyncio.Semaphore(_AT_ONCE)

    async def encode(number: int, part: str) -> tuple[int, ...]:
        async with places:
            if part in marks:
                return await encoder.encode_letters(marks[part])
            return await encoder.encode_template(part, first=number == 0)

    encoded = await asyncio.gather(*(encode(number, part) for number, part in enumerate(parts) if part))
    return tuple(token for tokens in encoded for token in tokens)
