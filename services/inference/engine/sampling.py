"""Chooses the next token of every reply of a step at once, each by its own rules.

Order: penalties, the form the reply must have, then the best or a draw. A reply's token is the same whoever shares
its step.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from services.inference.engine.penalties import Penalties, are_asked_for, penalize
from services.inference.engine.token_mask import forbid_others

if TYPE_CHECKING:
    from services.inference.engine.drawing import Draw
    from services.inference.engine.grammar import Matcher
    from services.inference.engine.protocol import SamplingParams

_GREEDY_BELOW = 1e-4
"""Dividing by less than this overflows; the distribution has long been all on one token."""

_MOST_ALTERNATIVES = 20
"""As many are looked for whatever was asked: so ties among them fall the same for all."""


_ROWS_AT_ONCE = 16
"""Rows that a CPU works on together: more do not stay in its cache from one operation to the next."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token, with its log-probability and those of the alternatives where they were asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """What the choice of one reply's next token hangs on.

    Args:
        params: How.
        prompt: The prompt's tokens; the repetition penalty counts them as seen.
        matcher: The form that the reply must have; None for free text. Told of every token.
    """

    def __init__(self, params: SamplingParams, prompt: tuple[int, ...], matcher: Matcher | None = None) -> None:
        self.params = params
        self.penalties = Penalties(params, prompt) if are_asked_for(params) else None
        self.matcher = matcher
        self._drawn = 0

    @property
    def is_greedy(self) -> bool:
        """Whether it takes the most probable token."""
        return self.params.temperature < _GREEDY_BELOW

    def next_number(self) -> float:
        """Returns the next of the seed's numbers, uniform in [0, 1) with 52 bits.

        The n-th is a hash of the seed and n, so it is the same on every device and costs no state.
        """
        digest = hashlib.blake2b(struct.pack("<QQ", self.params.seed, self._drawn), digest_size=8).digest()
        self._drawn += 1
        return (int.from_bytes(digest, "little") >> 12) * 2.0**-52

    def note(self, token: int) -> None:
        """Takes the chosen token into account."""
        if self.penalties is not None:
            self.penalties.note(token)
        if self.matcher is not None:
            self.matcher.advance(token)


@torch.inference_mode()
def choose_all(samplers: list[Sampler], logits: torch.Tensor, draw: Draw) -> list[Choice]:
    """Chooses a token for each of several replies, and has each take note of it.

    Args:
        samplers: One a reply.
        logits: Of their next tokens, any float type, shape `(replies, vocabulary)`. Not changed.
        draw: Draws those that are drawn.
    """
    if not samplers:
        return []
    at_once = _ROWS_AT_ONCE if logits.device.type == "cpu" else len(samplers)
    begins = range(0, len(samplers), at_once)
    tokens = torch.cat([_choose(samplers[n : n + at_once], logits[n : n + at_once], draw) for n in begins])
    reported = _reported(samplers, logits, tokens)
    choices = []
    for n, (sampler, token) in enumerate(zip(samplers, tokens.tolist(), strict=True)):
        sampler.note(token)
        choices.append(reported.get(n) or Choice(token))
    return choices


def _choose(samplers: list[Sampler], logits: torch.Tensor, draw: Draw) -> torch.Tensor:
    penalized = [(n, s.penalties) for n, s in enumerate(samplers) if s.penalties is not None]
    formed = [(n, s.matcher) for n, s in enumerate(samplers) if s.matcher is not None]
    drawing = [n for n, s in enumerate(samplers) if not s.is_greedy]
    if logits.device.type == "cuda" and not (penalized or formed or drawing):
        return _best(logits)
    # In fp32 for the draw's sake, and because the largest is found several times faster there than in bf16.
    work = logits.float()
    if work is logits and (penalized or formed):
        work = logits.clone()
    penalize(work, penalized)
    forbid_others(work, formed)
    if not drawing:
        return _best(work)
    params = [samplers[n].params for n in drawing]
    numbers = [samplers[n].next_number() for n in drawing]
    if len(drawing) == len(samplers):
        return draw(work, params, numbers)
    tokens = _best(work)
    rows = torch.tensor(drawing, device=work.device)
    tokens[rows] = draw(work[rows], params, numbers)
    return tokens


def _best(logits: torch.Tensor) -> torch.Tensor:
    """Returns each row's most probable token, the first of equals."""
    if logits.device.type == "cpu":
        # Uses the processor's vectors, which torch's own does not.
        return torch.from_numpy(logits.numpy().argmax(axis=-1))
    return logits.argmax(dim=-1)


def _reported(samplers: list[Sampler], logits: torch.Tensor, tokens: torch.Tensor) -> dict[int, Choice]:
    """Returns the choices of the replies that asked for log-probabilities: those before everything above."""
    asked = {n: s.params.logprobs for n, s in enumerate(samplers) if s.params.logprobs is not None}
    if not asked:
        return {}
    rows = torch.tensor(list(asked), device=logits.device)
    logprobs = torch.log_softmax(logits[rows].float(), dim=-1)
    chosen = logprobs.gather(1, tokens[rows].unsqueeze(-1)).squeeze(-1)
    best = torch.topk(logprobs, min(max(_MOST_ALTERNATIVES, *asked.values()), logprobs.shape[-1]))
    columns = zip(tokens[rows].tolist(), chosen.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
    return {
        n: Choice(token, logprob, tuple(zip(ids[:count], values[:count], strict=True)))
        for (n, count), (token, logprob, ids, values) in zip(asked.items(), columns, strict=True)
    }
