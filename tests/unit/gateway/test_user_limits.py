"""What one user may have in a minute, and at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from services.gateway.identity import Caller
from services.gateway.settings import GatewaySettings
from services.gateway.user_limits import MinuteLimit, UserLimits
from services.rpc.errors import LimitReached


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


ANNA, BOB = Caller("anna", lambda: None), Caller("bob", lambda: None)


def limits(clock: Clock | None = None, **settings: int) -> UserLimits:
    return UserLimits(GatewaySettings(**settings), clock or Clock())


def test_by_default_there_is_no_limit():
    free = limits()
    with ExitStack() as held:
        for _ in range(1000):
            held.enter_context(free.reply(ANNA))(1_000_000)


def test_calls_over_the_minutes_limit_are_told_when_to_come_back_and_then_pass():
    clock = Clock()
    few = limits(clock, max_requests_per_minute_per_user=6)
    for _ in range(6):
        few.count_request(ANNA)
    with pytest.raises(LimitReached) as refused:
        few.count_request(ANNA)
    assert refused.value.retry_after == 10
    assert refused.value.metadata == {"limit": "6", "per": "calls a minute"}
    few.count_request(BOB)
    clock.now += 9.9
    with pytest.raises(LimitReached):
        few.count_request(ANNA)
    clock.now += 0.1
    few.count_request(ANNA)
    with pytest.raises(LimitReached):
        few.count_request(ANNA)


def test_a_call_that_is_refused_does_not_count():
    clock = Clock()
    few = limits(clock, max_requests_per_minute_per_user=1)
    few.count_request(ANNA)
    for _ in range(100):
        with pytest.raises(LimitReached):
            few.count_request(ANNA)
    clock.now += 60
    few.count_request(ANNA)


def test_a_users_streams_at_once_are_limited_and_a_place_is_free_when_one_ends():
    few = limits(max_streams_per_user=2)
    with few.reply(ANNA):
        with few.stream(ANNA):
            for third in (few.reply, few.stream):
                with pytest.raises(LimitReached), third(ANNA):
                    pass
            with few.reply(BOB):
                pass
        with few.reply(ANNA):
            pass


def test_a_stream_that_fails_gives_its_place_back():
    few = limits(max_streams_per_user=1)
    with pytest.raises(RuntimeError), few.reply(ANNA):
        raise RuntimeError
    with few.reply(ANNA):
        pass


def test_tokens_are_paid_for_afterwards_by_waiting():
    clock = Clock()
    few = limits(clock, max_tokens_per_minute_per_user=60)
    with few.reply(ANNA) as count:
        count(100)
        count(20)
    with pytest.raises(LimitReached) as refused, few.reply(ANNA):
        pass
    assert refused.value.retry_after == 61
    with few.reply(BOB):
        pass
    clock.now += 61
    with few.reply(ANNA):
        pass


def test_calls_that_compute_nothing_pass_while_tokens_are_used_up():
    few = limits(max_tokens_per_minute_per_user=1)
    with few.reply(ANNA) as count:
        count(1000)
    few.count_request(ANNA)
    with few.stream(ANNA):
        pass


def test_users_who_were_away_for_long_are_forgotten():
    clock = Clock()
    limit = MinuteLimit(10, "calls", clock)
    for n in range(1000):
        limit.take(f"user {n}", 1)
    clock.now += 60
    for n in range(100):
        limit.take(f"new {n}", 1)
    assert len(limit._buckets) < 200
