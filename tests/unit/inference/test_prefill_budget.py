"""How much of prompts a step reads beside replies."""

from __future__ import annotations

from itertools import pairwise

from services.inference.engine.prefill_budget import MOST_TOKENS, PrefillBudget


def _learned(fixed: float, token: float, replies: int = 4) -> PrefillBudget:
    """A budget that has seen steps of so many seconds, and so many more a token."""
    budget = PrefillBudget()
    for _ in range(50):
        for prompt_tokens in (16, 0):
            budget.note(replies, prompt_tokens, fixed + (replies + prompt_tokens) * token)
    return budget


def test_where_no_reply_is_under_way_a_prompt_is_read_at_full_speed():
    assert PrefillBudget().tokens(0, 1) == MOST_TOKENS
    assert _learned(fixed=0.01, token=0.001).tokens(0, 1) == MOST_TOKENS


def test_a_step_takes_three_quarters_longer_for_a_prompt_that_arrives():
    assert 14 <= _learned(fixed=0.016, token=0.001).tokens(4, 1) <= 15


def test_the_more_prompts_wait_the_more_of_them_is_read():
    assert 79 <= _learned(fixed=0.006, token=0.001).tokens(4, 5) <= 80
    assert 160 <= _learned(fixed=0.006, token=0.001).tokens(1, 4) <= 168


def test_what_is_read_beside_few_tells_how_much_may_be_read_beside_many():
    budget = _learned(fixed=0.006, token=0.001)
    for replies in range(5, 36):
        # From here on no step is without prompts.
        budget.note(replies, 20, 0.006 + (replies + 20) * 0.001)
    assert 33 <= budget.tokens(40, 1) <= 35


def test_steps_without_prompts_leave_what_one_of_their_tokens_costs():
    budget = _learned(fixed=0.016, token=0.001)
    for _ in range(1000):
        budget.note(4, 0, 0.02)
    assert 14 <= budget.tokens(4, 1) <= 15


def test_the_more_a_token_costs_the_fewer_are_read():
    budget = _learned(fixed=0.016, token=0.001)
    for step in range(300):
        # What comes late in a prompt is held against all that comes before it.
        tokens = budget.tokens(4, 1)
        budget.note(4, tokens, 0.020 + tokens * (0.001 + 0.00001 * step))
    assert 5 <= budget.tokens(4, 1) <= 6


def test_every_so_often_a_step_shows_how_long_one_without_prompts_takes():
    budget = _learned(fixed=0.016, token=0.001)
    read = []
    for _ in range(1000):
        read.append(budget.tokens(4, 1))
        # Since then it takes twice as long.
        budget.note(4, read[-1], 0.032 + (4 + read[-1]) * 0.001)
    looks = [number for number, tokens in enumerate(read) if not tokens]
    assert [after - before for before, after in pairwise(looks)] == [33] * (len(looks) - 1)
    assert 25 <= read[-1] <= 27


def test_a_step_that_was_held_up_hardly_counts():
    budget = _learned(fixed=0.016, token=0.001)
    budget.note(4, 0, 5.0)
    assert 14 <= budget.tokens(4, 1) <= 17
    budget.note(4, 15, 5.0)
    assert 12 <= budget.tokens(4, 1) <= 15


def test_some_is_read_however_slow_it_is():
    assert _learned(fixed=0.0, token=1.0).tokens(4, 1) == 6


def test_never_more_is_read_than_a_step_may_hold():
    assert _learned(fixed=10.0, token=0.0001).tokens(1, 50) == MOST_TOKENS
    assert PrefillBudget(most=100).tokens(0, 1) == 100


def test_before_it_knows_a_step_without_prompts_it_sees_one():
    budget = PrefillBudget()
    budget.note(0, 100, 0.2)
    assert budget.tokens(1, 1) == 0
    budget.note(1, 0, 0.02)
    assert budget.tokens(1, 1) == 7
