"""How tokens are chosen: properties of the distribution, reproducible by seed."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch

from services.inference.engine.sampling import Choice, Sampler, choose_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.drawing import Draw
    from services.inference.engine.protocol import SamplingParams

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -8.0])
DRAWS = 4000


def _choose(draw: Draw, sampler: Sampler, logits: torch.Tensor = LOGITS) -> Choice:
    return choose_all([sampler], logits.unsqueeze(0), draw)[0]


def _drawn(draw: Draw, params: SamplingParams, prompt: tuple[int, ...] = ()) -> Counter[int]:
    sampler = Sampler(params, prompt)
    return Counter(_choose(draw, sampler).token for _ in range(DRAWS))


def test_temperature_zero_is_the_most_probable_token(draw: Draw, params: Callable[..., SamplingParams]):
    assert set(_drawn(draw, params(temperature=0.0))) == {0}


def test_the_plain_distribution_is_the_softmax(draw: Draw, params: Callable[..., SamplingParams]):
    drawn = _drawn(draw, params(temperature=1.0))
    for token, probability in enumerate(torch.softmax(LOGITS, -1).tolist()):
        spread = 5 * math.sqrt(probability * (1 - probability) / DRAWS)
        assert abs(drawn[token] / DRAWS - probability) < spread + 1e-3


def test_a_high_temperature_flattens(draw: Draw, params: Callable[..., SamplingParams]):
    assert _drawn(draw, params(temperature=5.0))[3] > _drawn(draw, params(temperature=1.0))[3]


def test_top_k_keeps_the_best(draw: Draw, params: Callable[..., SamplingParams]):
    assert set(_drawn(draw, params(temperature=1.0, top_k=2))) == {0, 1}


def test_top_k_larger_than_the_vocabulary_keeps_all(draw: Draw, params: Callable[..., SamplingParams]):
    assert set(_drawn(draw, params(temperature=5.0, top_k=1000))) >= {0, 1, 2, 3}


def test_top_p_keeps_the_fewest_that_reach_the_sum(draw: Draw, params: Callable[..., SamplingParams]):
    # 0.64 + 0.24 reach 0.8.
    assert set(_drawn(draw, params(temperature=1.0, top_p=0.8))) == {0, 1}


def test_a_tiny_top_p_keeps_the_best(draw: Draw, params: Callable[..., SamplingParams]):
    assert set(_drawn(draw, params(temperature=5.0, top_p=1e-9))) == {0}


def test_top_p_counts_within_what_top_k_kept(draw: Draw, params: Callable[..., SamplingParams]):
    # Of the best two, the first has 0.73.
    assert set(_drawn(draw, params(temperature=1.0, top_k=2, top_p=0.7))) == {0}


def test_min_p_drops_what_is_too_improbable_beside_the_best(draw: Draw, params: Callable[..., SamplingParams]):
    # exp(-1) = 0.37, exp(-2) = 0.14.
    assert set(_drawn(draw, params(temperature=1.0, min_p=0.2))) == {0, 1}


def test_min_p_one_keeps_the_best(draw: Draw, params: Callable[..., SamplingParams]):
    assert set(_drawn(draw, params(temperature=5.0, min_p=1.0))) == {0}


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits(
    draw: Draw, params: Callable[..., SamplingParams]
):
    sampler = Sampler(params(repetition_penalty=4.0, logprobs=5), (0, 3))
    assert _choose(draw, sampler).token == 1  # 2 / 4 is below 1; chosen, it counts as seen
    assert _choose(draw, sampler).token == 0  # 0.5 against 0.25


def test_frequency_penalty_grows_with_each_time(draw: Draw, params: Callable[..., SamplingParams]):
    sampler = Sampler(params(frequency_penalty=0.6), ())
    assert [_choose(draw, sampler).token for _ in range(4)] == [0, 0, 1, 0]


def test_presence_penalty_counts_once_and_not_the_prompt(draw: Draw, params: Callable[..., SamplingParams]):
    sampler = Sampler(params(presence_penalty=1.5), (0,))
    assert [_choose(draw, sampler).token for _ in range(3)] == [0, 1, 0]


def test_the_same_seed_draws_the_same(draw: Draw, params: Callable[..., SamplingParams]):
    def reply(seed: int) -> list[int]:
        sampler = Sampler(params(temperature=2.0, seed=seed), ())
        return [_choose(draw, sampler).token for _ in range(40)]

    assert reply(7) == reply(7)
    assert reply(7) != reply(8)


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_every_seed_of_the_protocol_is_taken(draw: Draw, params: Callable[..., SamplingParams], seed: int):
    assert _choose(draw, Sampler(params(temperature=1.0, seed=seed), ())).token in range(5)


def test_logprobs_are_those_before_temperature_penalties_and_filters(draw: Draw, params: Callable[..., SamplingParams]):
    sampler = Sampler(params(temperature=0.1, top_k=1, repetition_penalty=3.0, logprobs=3), (0,))
    choice = _choose(draw, sampler)
    expected = torch.log_softmax(LOGITS, -1).tolist()
    assert choice.logprob == pytest.approx(expected[choice.token])
    assert [token for token, _ in choice.top] == [0, 1, 2]
    assert [value for _, value in choice.top] == pytest.approx(expected[:3])


def test_logprobs_zero_reports_the_chosen_token_only(draw: Draw, params: Callable[..., SamplingParams]):
    choice = _choose(draw, Sampler(params(logprobs=0), ()))
    assert choice.logprob is not None
    assert choice.top == ()


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-4, 5.0])
def test_no_temperature_overflows(draw: Draw, params: Callable[..., SamplingParams], temperature: float):
    huge = torch.tensor([1e30, 9e29, -1e30])
    sampler = Sampler(params(temperature=temperature, frequency_penalty=2.0), ())
    assert _choose(draw, sampler, huge).token == 0
