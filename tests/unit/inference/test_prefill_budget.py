"""How much of prompts a step reads beside replies."""

from __future__ import annotations

from services.inference.engine.prefill_budget import MOST_TOKENS, PrefillBudget


def _learned(step: float, token: float, replies: int = 4) -> PrefillBudget:
    budget = PrefillBudget()
    for _ in range(20):
        budget.note(replies, 0, step)
        budget.note(replies, 16, step + 16 * token)
    return budget


def test_where_no_reply_is_under_way_a_prompt_is_read_at_full_speed():
    assert _learned(step=0.01, token=0.001).tokens(0, 1) == MOST_TOKENS


def test_a_step_takes_less_than_twice_as_long_for_a_prompt_that_arrives():
    assert 14 <= _learned(step=0.02, token=0.001).tokens(4, 1) <= 16


def test_the_more_prompts_wait_the_more_of_them_is_read():
    assert 29 <= _learned(step=0.01, token=0.001).tokens(4, 5) <= 31
    assert 88 <= _learned(step=0.01, token=0.001).tokens(1, 4) <= 92


def test_some_is_read_however_slow_it_is():
    assert _learned(step=0.001, token=1.0).tokens(4, 1) == 6


def test_never_more_is_read_than_a_step_may_hold():
    assert _learned(step=10.0, token=0.0001).tokens(1, 50) == MOST_TOKENS


def test_it_begins_carefully():
    assert PrefillBudget().tokens(1, 1) == 16
