"""Where a reply's time went, as llama.cpp's server tells those who ask for `timings_per_token`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from services.gateway.openai_api.reply import Ended


class Timings(TypedDict):
    """Tokens that were read and written, those that a cache held apart, and how long that took."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float


def timings_of(end: Ended) -> Timings | None:
    """Returns the timings of a reply; None where they are not known."""
    if end.timings is None:
        return None
    read = end.prompt_tokens - end.cached_tokens
    reading = end.timings.prefill_time.ToMicroseconds() / 1e6
    writing = end.timings.decode_time.ToMicroseconds() / 1e6
    return Timings(
        cache_n=end.cached_tokens,
        prompt_n=read,
        prompt_ms=reading * 1000,
        prompt_per_second=read / reading if reading > 0 else 0.0,
        predicted_n=end.completion_tokens,
        predicted_ms=writing * 1000,
        predicted_per_second=end.timings.tokens_per_second,
    )
