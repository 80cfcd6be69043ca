"""One event of a server's stream, of `/completions` or `/chat/completions`, read into values.

Beside OpenAI's fields it reads what vLLM and llama.cpp add: usage with every event (`usage`, `timings`), the ids of
tokens, and log-probabilities in either of their two forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.inference.engine.protocol import TokenLogprob
from services.inference.engine.remote.failures import BadAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNKNOWN_ID = -1


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event says; None where it does not."""

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    """Generated so far."""
    logprobs: tuple[TokenLogprob, ...] = ()


def read_chunk(event: Mapping[str, Any]) -> Chunk:
    """Reads an event.

    Raises:
        BadAnswer: It is not of the form it must have.
    """
    try:
        return _read(event)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise BadAnswer from None


def _read(event: Mapping[str, Any]) -> Chunk:
    choices = event.get("choices") or [{}]
    choice = choices[0]
    text = choice["text"] if "text" in choice else (choice.get("delta") or {}).get("content")
    usage, timings = event.get("usage") or {}, event.get("timings") or {}
    cached, read = timings.get("cache_n"), timings.get("prompt_n")
    return Chunk(
        text=_whole(text or ""),
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=_first(usage.get("prompt_tokens"), None if cached is None or read is None else cached + read),
        cached_tokens=_first((usage.get("prompt_tokens_details") or {}).get("cached_tokens"), cached),
        completion_tokens=_first(usage.get("completion_tokens"), timings.get("predicted_n")),
        logprobs=_logprobs(choice.get("logprobs") or {}, choice.get("token_ids") or ()),
    )


def _first(*numbers: int | None) -> int | None:
    return next((int(number) for number in numbers if number is not None), None)


def _whole(text: str) -> str:
    """Returns text whose halves of surrogate pairs, which JSON can escape one by one, are paired or replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _logprobs(logprobs: Mapping[str, Any], ids: list[int] | tuple[()]) -> tuple[TokenLogprob, ...]:
    if logprobs.get("content"):
        return tuple(_of_chat(entry) for entry in logprobs["content"])
    tokens = logprobs.get("tokens") or ()
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    numbers = ids if len(ids) == len(tokens) else [_UNKNOWN_ID] * len(tokens)
    return (
        tuple(
            TokenLogprob(number, _bytes(token), float(logprob), _tops(top or {}, token, number))
            for number, token, logprob, top in zip(numbers, tokens, logprobs["token_logprobs"], tops, strict=True)
        )
        if tokens
        else ()
    )


def _of_chat(entry: Mapping[str, Any]) -> TokenLogprob:
    return TokenLogprob(
        entry.get("id", _UNKNOWN_ID),
        bytes(entry["bytes"]) if entry.get("bytes") is not None else _bytes(entry["token"]),
        float(entry["logprob"]),
        tuple(_of_chat(top) for top in entry.get("top_logprobs") or ()),
    )


def _tops(top: Mapping[str, float], chosen: str, chosen_id: int) -> tuple[TokenLogprob, ...]:
    best_first = sorted(top.items(), key=lambda item: -item[1])
    return tuple(
        TokenLogprob(chosen_id if token == chosen else _UNKNOWN_ID, _bytes(token), float(logprob))
        for token, logprob in best_first
    )


def _bytes(token: str) -> bytes:
    return _whole(token).encode()
