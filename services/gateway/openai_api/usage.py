"""What a request cost."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.gateway.openai_api.reply import Ended


class PromptTokensDetails(TypedDict):
    """Of the prompt's tokens, those that a cache held."""

    cached_tokens: int


class Usage(TypedDict):
    """Tokens of prompt and reply. Several replies to one prompt are told together, the prompt once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


def usage_of(ends: Sequence[Ended], prompts: int = 1) -> Usage:
    """Returns what replies cost.

    Args:
        ends: Of all replies, those to one prompt in a row.
        prompts: How many prompts they are to, each with as many.
    """
    firsts = ends[:: max(len(ends) // prompts, 1)]
    prompt = sum(end.prompt_tokens for end in firsts)
    completion = sum(end.completion_tokens for end in ends)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=sum(end.cached_tokens for end in firsts)),
    )


def fingerprint(model: str) -> str:
    """Returns `system_fingerprint`: tells set-ups apart, between which a seed's reply may differ."""
    return f"b-{hashlib.sha256(model.encode()).hexdigest()[:12]}"
