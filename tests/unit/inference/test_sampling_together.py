"""What a reply gets hangs on nobody who shares its steps, and on nothing but what its own rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.protocol import SamplingParams
from services.inference.engine.sampling import Choice, Sampler, choose_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.drawing import Draw

STEPS = 5
REAL = 49152
PROMPT = (3, 5, 5, 8, 13)


def _params(temperature: float, **changed: object) -> SamplingParams:
    plain: dict[str, object] = {
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "seed": 1,
        "max_tokens": STEPS,
    }
    return SamplingParams(temperature, **{**plain, **changed})


ANY_PARAMS = st.builds(
    _params,
    temperature=st.sampled_from([0.0, 1e-3, 0.7, 1.0, 5.0]),
    top_p=st.sampled_from([1e-6, 0.3, 0.9, 0.999, 1.0]),
    top_k=st.sampled_from([0, 1, 7, 64, 128, 129, 300, 10_000]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 0.5, 1.3]),
    frequency_penalty=st.sampled_from([0.0, 0.2, -1.0]),
    presence_penalty=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 2**64 - 1),
    logprobs=st.sampled_from([None, 0, 3, 20]),
)


def _logits(rows: int, vocabulary: int, seed: int, dtype: torch.dtype, spread: float) -> torch.Tensor:
    drawn = torch.randn(STEPS, rows, vocabulary, generator=torch.Generator().manual_seed(seed))
    return (drawn * spread).to(dtype)


def _replies(draw: Draw, params: list[SamplingParams], logits: torch.Tensor) -> list[list[Choice]]:
    samplers = [Sampler(p, PROMPT) for p in params]
    return [list(column) for column in zip(*(choose_all(samplers, step, draw) for step in logits), strict=True)]


def _alone(draw: Draw, params: list[SamplingParams], logits: torch.Tensor) -> list[list[Choice]]:
    return [_replies(draw, [p], logits[:, n : n + 1])[0] for n, p in enumerate(params)]


@settings(max_examples=80, deadline=None)
@given(
    params=st.lists(ANY_PARAMS, min_size=1, max_size=9),
    vocabulary=st.sampled_from([16, 130, 257, 4096]),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    spread=st.sampled_from([0.1, 2.0, 30.0]),
)
def test_every_reply_gets_in_a_batch_what_it_gets_alone(  # noqa: PLR0917 - what is drawn for it
    draw: Draw, params: list[SamplingParams], vocabulary: int, seed: int, dtype: torch.dtype, spread: float
):
    logits = _logits(len(params), vocabulary, seed, dtype, spread)
    before = logits.clone()
    assert _replies(draw, params, logits) == _alone(draw, params, logits)
    assert torch.equal(logits, before)


def test_a_batch_over_a_real_vocabulary_gets_what_each_gets_alone(draw: Draw):
    one_of_each = [
        _params(0.0),
        _params(0.0, frequency_penalty=0.2, logprobs=5),
        _params(1.0),
        _params(1.0, min_p=0.1),
        _params(0.7, top_p=0.95),
        _params(5.0, top_p=0.95),
        _params(1.0, top_k=64),
        _params(5.0, top_k=3000, top_p=0.9, repetition_penalty=1.2),
    ]
    params = [p for p in one_of_each for _ in range(2)]
    logits = _logits(len(params), REAL, 5, torch.bfloat16, 2.0)
    assert _replies(draw, params, logits) == _alone(draw, params, logits)


@settings(max_examples=60, deadline=None)
@given(params=ANY_PARAMS, seed=st.integers(0, 1000), spread=st.sampled_from([0.5, 3.0]))
def test_a_reply_gets_what_the_rules_say_one_by_one(draw: Draw, params: SamplingParams, seed: int, spread: float):
    """Against the definitions, written plainly and in fp64 for one reply."""
    logits = _logits(1, 400, seed, torch.float32, spread)
    tokens = [choice.token for choice in _replies(draw, [params], logits)[0]]
    reply: list[int] = []
    for step, token in zip(logits[:, 0].double(), tokens, strict=True):
        assert token in _possible(step, params, reply)
        reply.append(token)


def _possible(logits: torch.Tensor, params: SamplingParams, reply: list[int]) -> set[int]:
    scores = logits.clone()
    for token in {*PROMPT, *reply}:
        divisor = params.repetition_penalty
        scores[token] = scores[token] * divisor if scores[token] < 0 else scores[token] / divisor
    for token in set(reply):
        scores[token] -= params.frequency_penalty * reply.count(token) + params.presence_penalty
    if params.temperature == 0:
        return {n for n, score in enumerate(scores.tolist()) if score > float(scores.max()) - 1e-5}
    probabilities = torch.softmax(scores / params.temperature, -1)
    order = torch.argsort(probabilities, descending=True)[: params.top_k or None].tolist()
    whole = sum(float(probabilities[token]) for token in order)
    kept, before = set(), 0.0
    for token in order:
        likely = float(probabilities[token]) >= params.min_p * float(probabilities[order[0]]) * (1 - 1e-5)
        if (before < params.top_p + 1e-5 or not kept) and likely:
            kept.add(token)
        before += float(probabilities[token]) / whole
    return kept


@pytest.mark.parametrize("top_k", [0, 2])
def test_how_often_a_token_is_drawn_is_its_probability(draw: Draw, params: Callable[..., SamplingParams], top_k: int):
    logits = torch.full((2000, 6000), -20.0)
    logits[:, 4100], logits[:, 70] = 1.0, 0.0
    samplers = [Sampler(params(temperature=1.0, top_k=top_k, seed=n), ()) for n in range(2000)]
    drawn = [choice.token for choice in choose_all(samplers, logits, draw)]
    assert set(drawn) == {70, 4100}
    assert abs(drawn.count(4100) / 2000 - 0.731) < 0.05


def test_a_seeds_numbers_are_uniform_and_never_one():
    sampler = Sampler(_params(1.0, seed=2**64 - 1), ())
    numbers = [sampler.next_number() for _ in range(20_000)]
    assert 0 <= min(numbers) < 1e-3
    assert 1 - 1e-3 < max(numbers) < 1
    assert abs(sum(numbers) / len(numbers) - 0.5) < 0.01
