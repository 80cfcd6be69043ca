"""How probable the tokens were, as chat completions and completions tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatbot.v1.inference_service_pb2 import TokenLogprob

_LEAST = -9999.0
"""What OpenAI's API tells of a token that could not have come; JSON has no minus infinity."""


class TopLogprob(TypedDict):
    """One token that might have come."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TypedDict):
    """One token that came."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(TypedDict):
    """The tokens of a reply, or of a part of it."""

    content: list[TokenLogprobs]
    refusal: None


class CompletionLogprobs(TypedDict):
    """The same for `/v1/completions`: one list for each fact."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


def choice_logprobs(tokens: Iterable[TokenLogprob]) -> ChoiceLogprobs:
    """Returns tokens as a chat completion tells them."""
    return ChoiceLogprobs(content=[_token(token) for token in tokens], refusal=None)


def completion_logprobs(tokens: Iterable[TokenLogprob], offset: int) -> CompletionLogprobs:
    """Returns tokens as a completion tells them, the first at character `offset` of the text."""
    told = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    for token in tokens:
        text = _text(token)
        told["tokens"].append(text)
        told["token_logprobs"].append(_finite(token.logprob))
        told["top_logprobs"].append({_text(t): _finite(t.logprob) for t in token.top})
        told["text_offset"].append(offset)
        offset += len(text)
    return told


def _token(token: TokenLogprob) -> TokenLogprobs:
    return TokenLogprobs(
        token=_text(token),
        logprob=_finite(token.logprob),
        bytes=list(token.token),
        top_logprobs=[TopLogprob(token=_text(t), logprob=_finite(t.logprob), bytes=list(t.token)) for t in token.top],
    )


def _text(token: TokenLogprob) -> str:
    # A token need not be whole UTF-8; its bytes are told beside it.
    return token.token.decode(errors="replace")


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST)
