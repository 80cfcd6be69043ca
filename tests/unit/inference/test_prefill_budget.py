"""How much of prompts a step reads beside replies."""

from __future__ import annotations

from services.inference.engine.prefill_budget import MOST_TOKENS, PrefillBudget


def _learned(fixed: float, token: float, replies: int = 4) -> PrefillBudget:
    """A budget that has seen steps of so many seconds, and so many more a token."""
    budget = PrefillBudget()
    for _ in range(20):
        for prompt_tokens in (0, 16):
            budget.note(replies, prompt_tokens, fixed + (replies + prompt_tokens) * token)
    return budget


def test_where_no_reply_is_under_way_a_prompt_is_read_at_full_speed():
    assert _learned(fixed=0.01, token=0.001).tokens(0, 1) == MOST_TOKENS


def test_a_step_takes_less_than_twice_as_long_for_a_prompt_that_arrives():
    assert 14 <= _learned(fixed=0.016, token=0.001).tokens(4, 1) <= 16


def test_the_more_prompts_wait_the_more_of_them_is_read():
    assert 59 <= _learned(fixed=0.006, token=0.001).tokens(4, 5) <= 61
    assert 124 <= _learned(fixed=0.006, token=0.001).tokens(1, 4) <= 127


def test_what_is_read_beside_few_tells_how_much_may_be_read_beside_many():
    budget = _learned(fixed=0.006, token=0.001)
    for replies in range(5, 40):
        # From here on no step is without prompts.
        budget.note(replies, 20, 0.006 + (replies + 20) * 0.001)
    assert 33 <= budget.tokens(40, 1) <= 35


def test_steps_that_are_all_alike_leave_what_a_token_costs():
    budget = _learned(fixed=0.016, token=0.001)
    for _ in range(1000):
        budget.note(4, 0, 0.02)
    assert 14 <= budget.tokens(4, 1) <= 16


def test_some_is_read_however_slow_it_is():
    assert _learned(fixed=0.0, token=1.0).tokens(4, 1) == 6


def test_never_more_is_read_than_a_step_may_hold():
    assert _learned(fixed=10.0, token=0.0001).tokens(1, 50) == MOST_TOKENS


def test_it_begins_carefully():
    assert PrefillBudget().tokens(1, 1) == 16
