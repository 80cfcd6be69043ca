"""How many prompt tokens a step may read beside the replies under way, so that those hardly falter.

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
_CROWD = 4
"""How much more a prompt that waits behind another counts than a reply that falters: many that arrive together are read
together, as if none of them were under way already."""
_WEIGHT = 0.3
"""Of the latest step in the means."""


class PrefillBudget:
    """Learns from the steps of one engine."""

    def __init__(self) -> None:
        self._step_seconds: float | None = None
        self._token_seconds: float | None = None

    def tokens(self, replies: int, prompts: int) -> int:
        """Returns how many prompt tokens the next step may read.

        Args:
            replies: How many get a token in it.
            prompts: How many wait to be read.
        """
        if not replies:
            return MOST_TOKENS
        if self._step_seconds is None or self._token_seconds is None:
            return min(_FIRST_TOKENS, MOST_TOKENS)
        seconds = _LENGTHENED_BY * self._step_seconds * max(1.0, _CROWD * (prompts - 1) / replies)
        return min(max(int(seconds / self._token_seconds), _LEAST_TOKENS), MOST_TOKENS)

    def note(self, replies: int, prompt_tokens: int, seconds: float) -> None:
        """Learns how long a step took.

        Args:
            replies: How many got a token in it.
            prompt_tokens: How many were read.
            seconds: How long it took.
        """
        if not replies:
            return
        if not prompt_tokens:
            self._step_seconds = _mean(self._step_seconds, seconds)
        else:
            without = self._step_seconds if self._step_seconds is not None else seconds / 2
            self._token_seconds = _mean(self._token_seconds, max(seconds - without, 0.1 * seconds) / prompt_tokens)


def _mean(mean: float | None, latest: float) -> float:
    return latest if mean is None else mean + _WEIGHT * (latest - mean)
