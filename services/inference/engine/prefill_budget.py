"""How many prompt tokens a step may read beside replies under way, so that those hardly falter.

Chunked prefill (Agrawal et al. 2024, "Sarathi-Serve") with a budget that is measured, not set: what is little for one
model and machine makes another stand still.
"""

from __future__ import annotations

MOST_TOKENS = 512
"""Most prompt tokens that one step reads: between two of a longer prompt's, others come and go."""

_LEAST_TOKENS = 6
_FIRST_TOKENS = 16
"""Before anything has been measured."""
_LENGTHENED_BY = 0.75
"""A step with prompt tokens may take so much longer, as a share of one without."""
_CROWD = 8
"""How much more a prompt that waits behind another counts than a reply that falters: many that arrive together are read
together, as if none of them were under way already."""
_WEIGHT = 0.1
"""Of the latest step in what is learned."""
_LEAST_SPREAD = 1.0
"""Variance of steps' tokens from which on they tell what one of them costs."""
_LEAST_SHARE = 0.1
"""Of a step's mean time a token: what one more costs at least."""


class PrefillBudget:
    """Learns from the steps of one engine: a step's time is taken to grow evenly with its tokens.

    Prompts' tokens and replies' count alike, so that steps of all kinds tell of one another: where prompts come all the
    time there may be no step without them to compare with.

    Args:
        most: Most prompt tokens that one step reads, where not `MOST_TOKENS`.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._tokens: float | None = None
        self._seconds = 0.0
        self._spread = 0.0
        self._shared_spread = 0.0
        self._slope: float | None = None

    def tokens(self, replies: int, prompts: int) -> int:
        """Returns how many prompt tokens the next step may read.

        Args:
            replies: How many get a token in it.
            prompts: How many wait to be read.
        """
        if not replies:
            return self._most or MOST_TOKENS
        if self._tokens is None:
            return min(_FIRST_TOKENS, self._most or MOST_TOKENS)
        one = self._token_seconds(self._tokens)
        without = max(self._seconds + one * (replies - self._tokens), one * replies)
        seconds = _LENGTHENED_BY * without * max(1.0, _CROWD * (prompts - 1) / replies)
        return min(max(int(seconds / one), _LEAST_TOKENS), self._most or MOST_TOKENS)

    def note(self, replies: int, prompt_tokens: int, seconds: float) -> None:
        """Learns how long a step took.

        Args:
            replies: How many got a token in it.
            prompt_tokens: How many were read.
            seconds: How long it took.
        """
        tokens = replies + prompt_tokens
        if self._tokens is None:
            self._tokens, self._seconds = float(tokens), seconds
            return
        more, longer = tokens - self._tokens, seconds - self._seconds
        self._tokens += _WEIGHT * more
        self._seconds += _WEIGHT * longer
        self._spread = (1 - _WEIGHT) * (self._spread + _WEIGHT * more * more)
        self._shared_spread = (1 - _WEIGHT) * (self._shared_spread + _WEIGHT * more * longer)
        # Steps that are all alike tell nothing of it; what was learned before stays.
        if self._spread >= _LEAST_SPREAD:
            self._slope = self._shared_spread / self._spread

    def _token_seconds(self, tokens: float) -> float:
        mean = self._seconds / tokens
        return mean if self._slope is None else min(max(self._slope, _LEAST_SHARE * mean), mean)
