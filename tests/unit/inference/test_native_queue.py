"""Requests that wait in the engine for room in its KV cache, and what `load` says of all of them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from services.inference.engine import throughput
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import Finished, FinishReason, Load, Started
from services.inference.engine.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.protocol import EngineRequest

    Ask = Callable[..., EngineRequest]

PROMPT = tuple(range(20))
MOST = 30


@pytest.fixture
async def narrow(tiny: LoadedModel) -> AsyncIterator[NativeEngine]:
    """Has places for eight and room for one."""
    engine = NativeEngine(tiny, max_running=8, prefix_cache_tokens=0, kv_cache_tokens=256)
    yield engine
    await engine.close()


async def _finish(engine: NativeEngine, request: EngineRequest, log: list[str]) -> Finished:
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Started):
                log.append(request.caller)
            if isinstance(event, Finished):
                return event
    raise AssertionError("no end")


async def test_callers_take_turns_where_the_kv_cache_is_full(narrow: NativeEngine, ask: Ask):
    log: list[str] = []
    request = ask(PROMPT, max_tokens=MOST)
    many = [asyncio.create_task(_finish(narrow, replace(request, caller="a"), log)) for _ in range(10)]
    one = asyncio.create_task(_finish(narrow, replace(request, caller="b"), log))
    await asyncio.gather(*many, one)
    assert sorted(log) == ["a"] * 10 + ["b"]
    assert log.index("b") <= 2


async def test_what_waits_for_room_counts_as_queued_and_its_wait_is_told(narrow: NativeEngine, ask: Ask):
    async with aclosing(narrow.generate(ask(PROMPT, max_tokens=200))) as first:
        assert isinstance(await anext(first), Started)
        waiting = [asyncio.create_task(_finish(narrow, ask(PROMPT, max_tokens=2), [])) for _ in range(3)]
        await anext(first)
        async with asyncio.timeout(30):
            while narrow.load().queued < 3:
                await anext(first)
        load = narrow.load()
        assert load.running == 1
        assert load.kv_tokens_used >= len(PROMPT)
        assert load.kv_tokens_capacity == 256
    ends = await asyncio.gather(*waiting)
    assert [end.reason for end in ends] == [FinishReason.MAX_TOKENS] * 3
    assert (narrow.load().running, narrow.load().queued, narrow.load().kv_tokens_used) == (0, 0, 0)


async def test_a_deadline_that_passes_while_waiting_for_room_ends_the_reply(narrow: NativeEngine, ask: Ask):
    async with aclosing(narrow.generate(ask(PROMPT, max_tokens=200))) as first:
        await anext(first)
        # In the past: it has to wait for the first, and is let go of by the next step.
        late = await _finish(narrow, ask(PROMPT, deadline=0.0), [])
        assert (late.reason, late.completion_tokens) == (FinishReason.DEADLINE, 0)
        assert narrow.load().queued == 0


async def test_one_that_is_given_up_while_waiting_for_room_is_forgotten(narrow: NativeEngine, ask: Ask):
    async with aclosing(narrow.generate(ask(PROMPT, max_tokens=200))) as first:
        await anext(first)
        waiting = asyncio.create_task(_finish(narrow, ask(PROMPT), []))
        async with asyncio.timeout(30):
            while narrow.load().queued < 1:
                await anext(first)
            waiting.cancel()
            while narrow.load().queued:
                await anext(first)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_kv_cache_holds_the_tokens_that_load_says(tiny: LoadedModel, ask: Ask):
    engine = NativeEngine(tiny, max_running=4, prefix_cache_tokens=0)
    seen: list[tuple[Load, int, int]] = []
    choose = engine._steps._scheduler.schedule

    def look():
        lengths = engine._steps._runner._cache._running._lengths
        seen.append((engine.load(), len(lengths), sum(lengths.values())))
        return choose()

    engine._steps._scheduler.schedule = look
    await asyncio.gather(*(_finish(engine, ask(PROMPT[: n + 1], max_tokens=3 + n), []) for n in range(9)))
    await engine.close()
    assert max(load.running for load, _, _ in seen) == 4
    for load, sequences, tokens in seen:
        assert (load.running, load.kv_tokens_used) == (sequences, tokens)


def test_throughput_is_that_of_the_last_ten_seconds(monkeypatch: pytest.MonkeyPatch):
    now = 50.0
    monkeypatch.setattr(throughput, "time", SimpleNamespace(monotonic=lambda: now))
    rate = Throughput()
    rate.note(30)
    now = 55.0
    rate.note(20)
    assert rate.tokens_per_second() == 5.0
    now = 60.5
    assert rate.tokens_per_second() == 2.0
    now = 65.5
    assert rate.tokens_per_second() == 0.0
