"""How many prompt tokens a step may read beside replies under way, so that those hardly falter.

Chunked prefill (Agrawal et al. 2024, "Sarathi-Serve") with a budget that is measured, not set: what is little for one
model and machine makes another stand still.
"""

from __future__ import annotations

MOST_TOKENS = 512
"""Most prompt tokens that one step reads: between two of a longer prompt's, others come and go."""

_LEAST_TOKENS = 6
_LENGTHENED_BY = 0.75
"""A step with prompt tokens may take so much longer, as a share of one without."""
_CROWD = 8
"""How much more a prompt that waits behind another counts than a reply that falters: many that arrive together are read
together, as if none of them were under way already."""
_LOOK_EVERY = 32
"""After so many steps with prompt tokens comes one without, to see how long that takes now."""
_WEIGHT = 0.1
"""Of the latest step in what is learned."""
_MOST_TIMES = 2.0
"""As how many times what is known one step counts at most: something may have held it up."""
_LEAST_SHARE = 0.1
"""Of what a step takes for one of its replies: what one more token costs at least."""


class PrefillBudget:
    """Learns from the steps of one engine: how long they take without prompt tokens, and how much longer for one.

    Args:
        most: Most prompt tokens that one step reads, where not `MOST_TOKENS`.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._replies = 0.0
        """Of steps without prompt tokens, as `_seconds`; 0 before the first."""
        self._seconds = 0.0
        self._token_seconds: float | None = None
        self._since_look = 0

    def tokens(self, replies: int, prompts: int) -> int:
        """Returns how many prompt tokens the next step may read; 0 where one without is to be seen first.

        Args:
            replies: How many get a token in it.
            prompts: How many wait to be read.
        """
        most = self._most or MOST_TOKENS
        if not replies:
            return most
        if not self._replies or self._since_look >= _LOOK_EVERY:
            return 0
        seconds = self._without(replies) * max(_LENGTHENED_BY, _CROWD * (prompts - 1) / replies)
        return min(max(int(seconds / self._one()), _LEAST_TOKENS), most)

    def note(self, replies: int, prompt_tokens: int, seconds: float) -> None:
        """Learns how long a step took.

        Args:
            replies: How many got a token in it; guesses at what comes next count too.
            prompt_tokens: How many were read.
            seconds: How long it took.
        """
        if not replies:
            if self._token_seconds is None:
                self._token_seconds = seconds / prompt_tokens
            return
        if not prompt_tokens:
            self._since_look = 0
            if not self._replies:
                self._replies, self._seconds = float(replies), seconds
                return
            counted = min(seconds, _MOST_TIMES * self._without(replies))
            self._replies += _WEIGHT * (replies - self._replies)
            self._seconds += _WEIGHT * (counted - self._seconds)
            return
        self._since_look += 1
        if self._replies:
            one = max(0.0, seconds - self._without(replies)) / prompt_tokens
            before = self._one()
            self._token_seconds = before + _WEIGHT * (min(one, _MOST_TIMES * before) - before)

    def _without(self, replies: int) -> float:
        """Returns how long a step takes that only gives so many replies a token."""
        one = self._one()
        return max(self._seconds + one * (replies - self._replies), one * replies)

    def _one(self) -> float:
        """Returns how much longer a step takes for one token more: a prompt's, or a reply's."""
        mean = self._seconds / self._replies
        return mean if self._token_seconds is None else min(max(self._token_seconds, _LEAST_SHARE * mean), mean)
