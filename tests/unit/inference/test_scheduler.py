"""What each step computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, models

from services.inference.engine.mailbox import Mailbox
from services.inference.engine.scheduler import PREFILL_TOKENS_PER_STEP, Scheduler
from services.inference.engine.sequence import Sequence
from services.inference.engine.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.protocol import EngineRequest

VOCABULARY = Vocabulary(Tokenizer(models.WordLevel({"a": 0})))


@pytest.fixture
def sequence(ask: Callable[..., EngineRequest]) -> Callable[[int], Sequence]:
    return lambda length: Sequence(ask((0,) * length), Mailbox(), VOCABULARY)


def _always(_: Sequence) -> bool:
    return True


def _step(scheduler: Scheduler) -> dict[int, int]:
    """Carries out a step: the tokens computed of each sequence."""
    done = {}
    for work in scheduler.schedule():
        done[work.sequence.number] = work.end - work.begin
        work.sequence.computed = work.end
        if work.completes:
            work.sequence.append(0)
    return done


async def test_replies_under_way_get_their_token_while_a_long_prompt_is_read(sequence: Callable[[int], Sequence]):
    scheduler = Scheduler(max_running=2)
    short, long = sequence(3), sequence(2 * PREFILL_TOKENS_PER_STEP + 10)
    scheduler.add(short)
    scheduler.admit(_always)
    _step(scheduler)
    scheduler.add(long)
    scheduler.admit(_always)
    steps = [_step(scheduler) for _ in range(4)]
    assert [s[short.number] for s in steps] == [1, 1, 1, 1]
    assert [s[long.number] for s in steps] == [PREFILL_TOKENS_PER_STEP, PREFILL_TOKENS_PER_STEP, 10, 1]


async def test_prompts_take_turns(sequence: Callable[[int], Sequence]):
    scheduler = Scheduler(max_running=2)
    one, other = sequence(2 * PREFILL_TOKENS_PER_STEP), sequence(2 * PREFILL_TOKENS_PER_STEP)
    scheduler.add(one)
    scheduler.add(other)
    scheduler.admit(_always)
    assert [list(_step(scheduler)) for _ in range(3)] == [[one.number], [other.number], [one.number]]


async def test_no_more_than_the_batch_holds_are_admitted_and_a_removed_one_makes_room(
    sequence: Callable[[int], Sequence],
):
    scheduler = Scheduler(max_running=1)
    one, other = sequence(1), sequence(1)
    scheduler.add(one)
    scheduler.add(other)
    scheduler.admit(_always)
    scheduler.admit(_always)
    assert scheduler.running == (one,)
    scheduler.remove(one)
    scheduler.admit(_always)
    assert scheduler.running == (other,)
    scheduler.remove(other)
    assert scheduler.schedule() == []


async def test_one_that_finds_no_room_is_not_overtaken(sequence: Callable[[int], Sequence]):
    scheduler = Scheduler(max_running=3)
    small, long, after = sequence(1), sequence(9), sequence(1)
    for each in (small, long, after):
        scheduler.add(each)
    scheduler.admit(lambda s: s is not long)
    assert scheduler.running == (small,)
    scheduler.admit(_always)
    assert scheduler.running == (small, long, after)
