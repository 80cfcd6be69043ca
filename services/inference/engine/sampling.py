"""Chooses the next token of one reply from its logits.

Order: penalties, temperature, top-k, top-p (Holtzman et al. 2020, "nucleus sampling"), min-p (Nguyen et al. 2024).
Each reply draws from a generator of its own, so that no reply changes what another gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from services.inference.engine.protocol import SamplingParams

_GREEDY_BELOW = 1e-4
"""Dividing by less than this overflows; the distribution has long been all on one token."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token, with its log-probability and those of the alternatives where they were asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


_NUCLEUS_AT_FIRST = 128
"""Candidates among which a nucleus is looked for before all tokens are sorted."""


@torch.inference_mode()
def choose_all(samplers: list[Sampler], logits: torch.Tensor) -> list[Choice]:
    """Chooses a token for each of several replies: for each what its sampler would choose alone.

    Args:
        samplers: One a reply.
        logits: Of their next tokens, any float type, shape `(replies, vocabulary)`. Not changed.
    """
    plain = [n for n, sampler in enumerate(samplers) if sampler.takes_the_best]
    best: dict[int, int] = {}
    if plain:
        rows = logits if len(plain) == len(samplers) else logits[plain]
        # In fp32, and as a reduction over one dimension: the two are several times faster than argmax in bf16.
        best = dict(zip(plain, rows.float().max(dim=-1).indices.tolist(), strict=True))
    return [
        Choice(best[n]) if n in best else sampler.choose(row)
        for n, (sampler, row) in enumerate(zip(samplers, logits, strict=True))
    ]


class Sampler:
    """Chooses the tokens of one reply.

    Args:
        params: How.
        prompt: The prompt's tokens; the repetition penalty counts them as seen.
        device: Where the logits are.
    """

    def __init__(self, params: SamplingParams, prompt: tuple[int, ...], device: torch.device) -> None:
        self._params = params
        self._device = device
        self._generator = torch.Generator(device=device).manual_seed(params.seed)
        self._prompt = prompt
        self._seen: torch.Tensor | None = None
        self._counts: torch.Tensor | None = None

    @property
    def takes_the_best(self) -> bool:
        """Whether it only ever chooses the most probable token as the model has it, and reports nothing else."""
        params = self._params
        return (
            params.temperature < _GREEDY_BELOW
            and params.repetition_penalty == 1.0
            and not params.frequency_penalty
            and not params.presence_penalty
            and params.logprobs is None
        )

    @torch.inference_mode()
    def choose(self, logits: torch.Tensor) -> Choice:
        """Chooses a token.

        Args:
            logits: Of the next token, any float type, shape `(vocabulary,)`. Not changed.
        """
        raw = logits.float()
        token = self._draw(self._penalized(raw))
        self._note(token)
        if self._params.logprobs is None:
            return Choice(token)
        logprobs = torch.log_softmax(raw, dim=-1)
        best = torch.topk(logprobs, min(self._params.logprobs, logprobs.numel()))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return Choice(token, float(logprobs[token]), top)

    def _penalized(self, logits: torch.Tensor) -> torch.Tensor:
        params = self._params
        if params.repetition_penalty != 1.0:
            seen = self._seen_mask(logits.numel())
            divided = torch.where(logits < 0, logits * params.repetition_penalty, logits / params.repetition_penalty)
            logits = torch.where(seen, divided, logits)
        if params.frequency_penalty or params.presence_penalty:
            counts = self._count_vector(logits.numel())
            logits = logits - params.frequency_penalty * counts - params.presence_penalty * (counts > 0)
        return logits

    def _draw(self, logits: torch.Tensor) -> int:
        params = self._params
        if params.temperature < _GREEDY_BELOW:
            return int(torch.argmax(logits))
        # Less the largest first: then no division can overflow.
        probabilities = torch.softmax((logits - logits.max()) / params.temperature, dim=-1)
        candidates: torch.Tensor | None = None
        if params.top_k:
            top = torch.topk(probabilities, min(params.top_k, probabilities.numel()))
            probabilities, candidates = top.values / top.values.sum(), top.indices
        elif params.top_p < 1.0:
            probabilities, candidates = _most_probable(probabilities, params.top_p)
        if params.top_p < 1.0:
            before = torch.cumsum(probabilities, dim=-1) - probabilities
            kept = before < params.top_p
            kept[0] = True  # a top_p below the rounding of the sum keeps the best all the same
            probabilities = torch.where(kept, probabilities, 0.0)
        if params.min_p:
            probabilities = torch.where(
                probabilities >= params.min_p * probabilities.max(), probabilities, torch.zeros_like(probabilities)
            )
        drawn = self._pick(probabilities)
        return drawn if candidates is None else int(candidates[drawn])

    def _pick(self, probabilities: torch.Tensor) -> int:
        """Draws an index by inverting the cumulative distribution.

        One random number a token, whatever the filters left: so a seed's later tokens do not hang on how many
        candidates there were, and a last bit that differs moves the choice only where it lies on a border.
        """
        cumulative = torch.cumsum(probabilities, dim=-1, dtype=torch.float64)
        number = torch.rand(1, generator=self._generator, dtype=torch.float64, device=self._device)
        index = torch.searchsorted(cumulative, number * cumulative[-1], right=True)
        return min(int(index), len(probabilities) - 1)

    def _note(self, token: int) -> None:
        if self._seen is not None:
            self._seen[token] = True
        if self._counts is not None:
            self._counts[token] += 1

    def _seen_mask(self, size: int) -> torch.Tensor:
        if self._seen is None:
            self._seen = torch.zeros(size, dtype=torch.bool, device=self._device)
            self._seen[torch.tensor(self._prompt, dtype=torch.long, device=self._device)] = True
        return self._seen

    def _count_vector(self, size: int) -> torch.Tensor:
        if self._counts is None:
            self._counts = torch.zeros(size, dtype=torch.float32, device=self._device)
        return self._counts


def _most_probable(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the tokens that a nucleus lies among and their probabilities, the most probable first.

    To sort a vocabulary takes milliseconds, and a nucleus is seldom larger than a few tokens.
    """
    if len(probabilities) > _NUCLEUS_AT_FIRST:
        top = torch.topk(probabilities, _NUCLEUS_AT_FIRST)
        if float(top.values.sum()) > top_p:
            return top.values, top.indices
    values, indices = torch.sort(probabilities, descending=True)
    return values, indices
