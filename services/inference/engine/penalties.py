"""Penalties on tokens that a reply, or its prompt, has already: Keskar et al. 2019, "CTRL", and OpenAI's two.

What has been seen is a handful of tokens beside a vocabulary, so only those logits are read and written.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.protocol import SamplingParams


class Penalties:
    """The tokens that one reply is penalized for.

    Args:
        params: How strongly.
        prompt: The prompt's tokens; only the repetition penalty counts them.
    """

    def __init__(self, params: SamplingParams, prompt: tuple[int, ...]) -> None:
        self.repetition = params.repetition_penalty
        self.frequency = params.frequency_penalty
        self.presence = params.presence_penalty
        self._places: dict[int, int] = {}
        self.tokens = array("q")
        """Each token once."""
        self.counts = array("f")
        """How often the reply has each."""
        if params.repetition_penalty != 1.0:
            for token in prompt:
                self._place_of(token)

    def note(self, token: int) -> None:
        """Counts a token of the reply."""
        self.counts[self._place_of(token)] += 1

    def _place_of(self, token: int) -> int:
        place = self._places.setdefault(token, len(self.tokens))
        if place == len(self.tokens):
            self.tokens.append(token)
            self.counts.append(0.0)
        return place


def are_asked_for(params: SamplingParams) -> bool:
    """Whether a request has any penalty."""
    return params.repetition_penalty != 1.0 or bool(params.frequency_penalty) or bool(params.presence_penalty)


def penalize(logits: torch.Tensor, penalized: Sequence[tuple[int, Penalties]]) -> None:
    """Changes the logits of seen tokens, in place.

    Args:
        logits: fp32, contiguous, shape `(replies, vocabulary)`.
        penalized: Rows and what each is penalized for.
    """
    tokens, counts = array("q"), array("f")
    for _, penalties in penalized:
        tokens.extend(penalties.tokens)
        counts.extend(penalties.counts)
    if not tokens:
        return
    sizes = torch.tensor([len(penalties.tokens) for _, penalties in penalized])
    starts = torch.tensor([row * logits.shape[-1] for row, _ in penalized]).repeat_interleave(sizes)
    places = (torch.frombuffer(tokens, dtype=torch.int64) + starts).to(logits.device)
    strengths = torch.tensor([(p.repetition, p.frequency, p.presence) for _, p in penalized])
    divisors, frequencies, presences = strengths.repeat_interleave(sizes, dim=0).unbind(-1)
    seen = torch.frombuffer(counts, dtype=torch.float32)
    subtracted = (frequencies * seen + presences * (seen > 0)).to(logits.device)
    divisors = divisors.to(logits.device)
    flat = logits.view(-1)
    values = flat[places]
    flat[places] = torch.where(values < 0, values * divisors, values / divisors) - subtracted
