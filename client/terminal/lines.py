"""What a person is told in one line: the model, why a reply ended early, an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.errors import NotConnected, Unauthenticated
from client.values import FinishReason

if TYPE_CHECKING:
    from client.errors import ChatbotError
    from client.terminal.messages import Words
    from client.values import Model

_NOTES = {
    FinishReason.MAX_TOKENS: "max_tokens",
    FinishReason.CONTEXT_FULL: "context_full",
    FinishReason.DEADLINE: "deadline",
    FinishReason.CANCELLED: "stopped",
    FinishReason.ENGINE_LOST: "engine_lost",
}


def note_of(reason: FinishReason) -> str | None:
    """Returns the key of what to say of a reply that ended early; None where it ended by itself."""
    return _NOTES.get(reason)


def model_line(model: Model) -> str:
    """Returns the model, its weights and what it is good for, in one line."""
    return " · ".join(part for part in (model.id, model.weights, model.description) if part)


def error_line(words: Words, error: ChatbotError, address: str) -> str:
    """Returns an error in one line, for a person."""
    if isinstance(error, NotConnected):
        return words("no_answer", address=address)
    message = " ".join(error.message.split())
    if isinstance(error, Unauthenticated):
        message = words("unauthenticated", message=message)
    if error.retry_after is not None and error.retry_after >= 1:
        message = words("retry_after", message=message, seconds=error.retry_after)
    return words("error", message=message)
