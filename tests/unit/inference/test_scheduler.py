"""What each step computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, models

from services.inference.engine.mailbox import Mailbox
from services.inference.engine.scheduler import Scheduler
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


class FixedBudget:
    """Allows what it was told to."""

    def tokens(self, replies: int, prompts: int) -> int:
        del prompts
        return 10 if replies else 100


def _scheduler(max_running: int) -> Scheduler:
    return Scheduler(max_running, FixedBudget())


async def test_replies_under_way_get_their_token_while_a_long_prompt_is_read(sequence: Callable[[int], Sequence]):
    scheduler = _scheduler(2)
    short, long = sequence(3), sequence(25)
    scheduler.add(short)
    scheduler.admit(_always)
    _step(scheduler)
    scheduler.add(long)
    scheduler.admit(_always)
    steps = [_step(scheduler) for _ in range(4)]
    assert [s[short.number] for s in steps] == [1, 1, 1, 1]
    assert [s[long.number] for s in steps] == [10, 10, 5, 1]


async def test_short_prompts_are_read_first_and_the_oldest_always_some(sequence: Callable[[int], Sequence]):
    scheduler = _scheduler(4)
    long, short, other = sequence(400), sequence(70), sequence(30)
    for one in (long, short, other):
        scheduler.add(one)
    scheduler.admit(_always)
    assert _step(scheduler) == {long.number: 25, short.number: 45, other.number: 30}
    # One reply is under way now: a step reads less.
    assert _step(scheduler) == {other.number: 1, long.number: 2, short.number: 8}


async def test_no_more_than_the_batch_holds_are_admitted_and_a_removed_one_makes_room(
    sequence: Callable[[int], Sequence],
):
    scheduler = _scheduler(1)
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
    scheduler = _scheduler(3)
    small, long, after = sequence(1), sequence(9), sequence(1)
    for each in (small, long, after):
        scheduler.add(each)
    scheduler.admit(lambda s: s is not long)
    assert scheduler.running == (small,)
    scheduler.admit(_always)
    assert scheduler.running == (small, long, after)
