"""Where the time of a reply went, by a clock that a test moves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from services.inference.engine import prefill_budget, sequence
from services.inference.engine.mailbox import Mailbox
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import EngineRequest, Finished, FinishReason, Started
from services.inference.engine.sequence import Sequence
from services.inference.responses import generate_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.protocol import Event, SamplingParams
    from services.inference.engine.scheduler import Work


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(sequence, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def _times(end: Finished) -> tuple[float, float, float, float]:
    return end.queue_seconds, end.prefill_seconds, end.decode_seconds, end.tokens_per_second


async def test_the_queue_ends_when_it_is_taken_up_and_the_prefill_at_the_first_token(
    clock: _Clock, loaded: LoadedModel, params: Callable[..., SamplingParams]
):
    one = Sequence(EngineRequest((1, 2, 3), params(), arrived=98.0), Mailbox(), loaded.tokenizer.vocabulary)
    one.take_up(1)
    for seconds in (3.0, 1.5, 0.5):
        clock.now += seconds
        one.append(5)
    clock.now += 50.0
    end = one.finished(FinishReason.MAX_TOKENS)
    assert _times(end) == (2.0, 3.0, 2.0, 1.0)
    assert (end.prompt_tokens, end.cached_tokens, end.completion_tokens) == (3, 1, 3)


async def test_one_that_ends_before_its_first_token_has_spent_its_time_reading(
    clock: _Clock, loaded: LoadedModel, params: Callable[..., SamplingParams]
):
    one = Sequence(EngineRequest((1, 2, 3), params(), arrived=98.0), Mailbox(), loaded.tokenizer.vocabulary)
    one.take_up(0)
    clock.now += 4.0
    assert _times(one.finished(FinishReason.DEADLINE)) == (2.0, 4.0, 0.0, 0.0)


async def test_the_engine_tells_each_its_own_times(
    clock: _Clock, tiny: LoadedModel, params: Callable[..., SamplingParams], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prefill_budget, "MOST_TOKENS", 8)
    engine = NativeEngine(tiny, max_running=1, prefix_cache_tokens=0)
    run = engine._steps._runner.run

    def one_second_a_step(works: list[Work]):
        clock.now += 1.0 if works else 0.0
        return run(works)

    monkeypatch.setattr(engine._steps._runner, "run", one_second_a_step)

    async def ask(length: int, most: int) -> list[Event]:
        request = EngineRequest(tuple(range(length)), params(max_tokens=most), arrived=100.0)
        return [event async for event in engine.generate(request)]

    first, second = await asyncio.gather(ask(20, 5), ask(8, 1))
    await engine.close()
    assert isinstance(first[-1], Finished)
    assert isinstance(second[-1], Finished)
    # Three steps read twenty tokens, and the third gives the first of five.
    assert _times(first[-1]) == (0.0, 3.0, 4.0, 1.0)
    assert _times(second[-1]) == (7.0, 1.0, 0.0, 0.0)
    assert second[0] == Started(0, 7.0)


def test_they_leave_the_door_as_they_are(tiny: LoadedModel, params: Callable[..., SamplingParams]):
    end = Finished(FinishReason.EOS, 7, 3, 5, queue_seconds=0.25, prefill_seconds=0.5, decode_seconds=2.0)
    timings = generate_response(end, tiny.info, 7, params()).finished.timings
    told = (timings.queue_time, timings.prefill_time, timings.decode_time)
    assert [duration.ToMilliseconds() for duration in told] == [250, 500, 2000]
    assert timings.tokens_per_second == 2.0
