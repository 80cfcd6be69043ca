"""The native engine on the real embedded model, in fp32; transformers' own greedy `generate` is the oracle."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import (
    ChatPrompt,
    Delta,
    EngineDied,
    Event,
    Finished,
    FinishReason,
    Message,
    Started,
    TextPrompt,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.protocol import EngineRequest

    Ask = Callable[..., EngineRequest]
    Greedy = Callable[[tuple[int, ...], int], list[int]]

FRANCE = ChatPrompt((Message("user", "What is the capital of France?"),))
RUSSIAN = ChatPrompt((Message("user", "Привет! Кто ты? Расскажи о себе."),))
LONG = TextPrompt("The quick brown fox jumps over the lazy dog and runs away. " * 42)


async def _run(engine: NativeEngine, request: EngineRequest) -> list[Event]:
    return [event async for event in engine.generate(request)]


def _text(events: list[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, Delta))


def _finished(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last


def _tokens(events: list[Event]) -> list[int]:
    return [p.token_id for e in events if isinstance(e, Delta) for p in e.logprobs]


@pytest.mark.parametrize("prompt", [FRANCE, RUSSIAN, TextPrompt("def fibonacci(n):\n"), LONG])
async def test_greedy_is_token_for_token_what_transformers_generates(
    engine: NativeEngine, loaded: LoadedModel, greedy: Greedy, ask: Ask, prompt: ChatPrompt | TextPrompt
):
    tokens = await engine.tokenize(prompt)
    events = await _run(engine, ask(tokens, logprobs=0, max_tokens=16))
    expected = greedy(tokens, 16)
    ended = _finished(events).reason is FinishReason.EOS
    assert _tokens(events) == (expected[:-1] if ended else expected)
    assert ended == (expected[-1] in loaded.end_tokens)
    assert _finished(events).completion_tokens == len(expected)


async def test_requests_at_once_get_what_each_gets_alone(engine: NativeEngine, ask: Ask):
    prompts = [await engine.tokenize(p) for p in (FRANCE, RUSSIAN, LONG)]
    # Among few candidates: between those of a whole vocabulary lie so many borders that last bits can move a draw.
    drawn = {"temperature": 1.0, "top_k": 50}
    rules = ({}, drawn, {})
    requests = [ask(p, max_tokens=8, seed=5, **changed) for p, changed in zip(prompts, rules, strict=True)]
    requests.append(ask(prompts[0], max_tokens=8, seed=6, **drawn))
    requests.append(ask(prompts[1], max_tokens=8))
    alone = [_text(await _run(engine, request)) for request in requests]
    together = await asyncio.gather(*(_run(engine, request) for request in requests))
    assert [_text(events) for events in together] == alone
    assert engine.load().running == 0
    assert engine.load().kv_tokens_used == 0
    assert engine.load().tokens_per_second > 0


async def test_events_come_in_order_and_the_text_is_that_of_the_tokens(
    engine: NativeEngine, loaded: LoadedModel, ask: Ask
):
    events = await _run(engine, ask(await engine.tokenize(RUSSIAN), logprobs=2, max_tokens=20))
    assert isinstance(events[0], Started)
    assert all(isinstance(e, Delta) for e in events[1:-1])
    logprobs = [p for e in events if isinstance(e, Delta) for p in e.logprobs]
    assert b"".join(p.token for p in logprobs).decode(errors="ignore") == _text(events)
    assert all(len(p.top) == 2 and p.top[0].logprob >= p.top[1].logprob for p in logprobs)
    # Greedy: the chosen token is the best alternative.
    assert [p.token_id for p in logprobs] == [p.top[0].token_id for p in logprobs]


async def test_a_seed_reproduces_a_sampled_reply(engine: NativeEngine, ask: Ask):
    tokens = await engine.tokenize(FRANCE)
    filters = {"top_k": 500, "top_p": 0.98, "min_p": 1e-4}
    penalties = {"repetition_penalty": 1.1, "frequency_penalty": 0.1, "presence_penalty": 0.1}
    one, same, other = [
        _text(await _run(engine, ask(tokens, temperature=1.5, seed=seed, max_tokens=12, **filters, **penalties)))
        for seed in (1, 1, 2)
    ]
    assert one == same
    assert one != other


async def test_a_stop_string_across_tokens_ends_the_reply_before_it(engine: NativeEngine, ask: Ask):
    events = await _run(engine, ask(await engine.tokenize(FRANCE), stop=("l of Fr",)))
    assert _text(events) == "The capita"
    assert (_finished(events).reason, _finished(events).stop) == (FinishReason.STOP_STRING, "l of Fr")


async def test_max_tokens_end_the_reply(engine: NativeEngine, ask: Ask):
    events = await _run(engine, ask(await engine.tokenize(FRANCE), max_tokens=3))
    assert _text(events) == "The capital of"
    assert (_finished(events).reason, _finished(events).completion_tokens) == (FinishReason.MAX_TOKENS, 3)


async def test_the_context_ends_the_reply_when_it_is_full(loaded: LoadedModel, ask: Ask):
    small = replace(loaded, info=replace(loaded.info, context_tokens=40))
    engine = NativeEngine(small, max_running=1, prefix_cache_tokens=0)
    tokens = await engine.tokenize(FRANCE)
    finished = _finished(await _run(engine, ask(tokens, max_tokens=100)))
    await engine.close()
    assert finished.reason is FinishReason.CONTEXT_FULL
    assert finished.prompt_tokens + finished.completion_tokens == 40


async def test_closing_the_stream_frees_the_engine_within_one_step(engine: NativeEngine, ask: Ask):
    tokens = await engine.tokenize(LONG)
    async with aclosing(engine.generate(ask(tokens, max_tokens=4000))) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
        assert engine.load().running == 1
        assert engine.load().kv_tokens_used >= len(tokens)
    # The next request is taken up by the step after the one under way: by then the other is gone.
    async for event in engine.generate(ask(await engine.tokenize(FRANCE), max_tokens=1)):
        if isinstance(event, Started):
            assert engine.load().running <= 1


async def test_a_deadline_ends_the_reply_with_what_there_is(engine: NativeEngine, ask: Ask):
    deadline = time.monotonic() + 1.0
    request = ask(await engine.tokenize(TextPrompt("1 2 3 4 5 6 7 8 9 10 11")), max_tokens=4000, deadline=deadline)
    finished = _finished(await _run(engine, request))
    assert finished.reason is FinishReason.DEADLINE
    assert finished.completion_tokens < 4000
    assert engine.load().running == 0


async def test_a_deadline_that_has_passed_still_gets_both_ends(engine: NativeEngine, ask: Ask):
    events = await _run(engine, ask((1, 2, 3), deadline=time.monotonic() - 1))
    assert isinstance(events[0], Started)
    assert _finished(events).reason is FinishReason.DEADLINE
    assert len(events) == 2


async def test_the_next_turn_reuses_the_prefix_and_answers_the_same(engine: NativeEngine, ask: Ask):
    first = await engine.tokenize(FRANCE)
    answer = _text(await _run(engine, ask(first, cache_key="c")))
    grown = ChatPrompt((*FRANCE.messages, Message("assistant", answer), Message("user", "And of Italy?")))
    second = await engine.tokenize(grown)
    fresh = await _run(engine, ask(second, logprobs=0))
    reused = await _run(engine, ask(second, logprobs=0, cache_key="c"))
    assert _tokens(reused) == _tokens(fresh)
    assert _finished(fresh).cached_tokens == 0
    assert _finished(reused).cached_tokens >= len(first)
    assert isinstance(reused[0], Started)
    assert reused[0].cached_tokens == _finished(reused).cached_tokens


async def test_a_prefix_is_cut_back_to_what_two_prompts_share(engine: NativeEngine, ask: Ask):
    await _run(engine, ask(await engine.tokenize(FRANCE), cache_key="c"))
    changed = await engine.tokenize(ChatPrompt((Message("user", "What is the capital of Spain?"),)))
    fresh = await _run(engine, ask(changed, logprobs=0))
    reused = await _run(engine, ask(changed, logprobs=0, cache_key="c"))
    assert _tokens(reused) == _tokens(fresh)
    assert 0 < _finished(reused).cached_tokens < len(changed)


async def test_the_same_prompt_again_leaves_one_token_to_compute(engine: NativeEngine, ask: Ask):
    tokens = await engine.tokenize(FRANCE)
    first = await _run(engine, ask(tokens, cache_key="c"))
    again = await _run(engine, ask(tokens, cache_key="c"))
    assert _text(again) == _text(first)
    assert _finished(again).cached_tokens == len(tokens) - 1


async def test_a_prefix_is_never_reused_for_another_key(engine: NativeEngine, ask: Ask):
    tokens = await engine.tokenize(FRANCE)
    await _run(engine, ask(tokens, cache_key="one"))
    assert _finished(await _run(engine, ask(tokens, cache_key="other"))).cached_tokens == 0
    assert _finished(await _run(engine, ask(tokens))).cached_tokens == 0


async def test_an_engine_that_fails_tells_every_caller_and_whoever_watches(
    loaded: LoadedModel, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    engine = NativeEngine(loaded, max_running=1, prefix_cache_tokens=0)
    step = engine._steps._runner.run
    steps = 0

    def fail(works):
        nonlocal steps
        steps += 1
        if steps > 3:
            raise RuntimeError("out of order")
        return step(works)

    monkeypatch.setattr(engine._steps._runner, "run", fail)
    results = await asyncio.gather(
        *(_run(engine, ask((1, 2, 3), max_tokens=50)) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, EngineDied) for result in results)
    await engine.died()
    with pytest.raises(EngineDied):
        await _run(engine, ask((1, 2, 3)))
    assert engine.load().running == 0
    await engine.close()


async def test_closing_the_engine_ends_replies_under_way(loaded: LoadedModel, ask: Ask):
    engine = NativeEngine(loaded, max_running=1, prefix_cache_tokens=0)
    events = engine.generate(ask((1, 2, 3), max_tokens=4000))
    assert isinstance(await anext(events), Started)
    await engine.close()
    with pytest.raises(EngineDied):
        async for _ in events:
            pass


async def test_a_system_message_is_computed_once_for_all_conversations_with_its_key(
    engine: NativeEngine, ask: Callable[..., EngineRequest]
):
    def prompt(system: str, said: str) -> ChatPrompt:
        return ChatPrompt((Message("system", system), Message("user", said)))

    async def cached(asked: ChatPrompt, conversation: str, key: str) -> tuple[int, int]:
        tokens, shared = await engine.tokenize(asked), await engine.system_tokens(asked, "s")
        request = ask(tokens, cache_key=conversation, system_key=key, system_tokens=shared, max_tokens=2)
        events = [event async for event in engine.generate(request)]
        return events[0].cached_tokens, shared

    first, shared = await cached(prompt("You answer in verse.", "Hello"), "one", "house")
    assert first == 0
    assert shared > 4
    # The same words of another user are not told by it: only the system message is shared.
    assert await cached(prompt("You answer in verse.", "Hello"), "two", "house") == (shared, shared)
    assert (await cached(prompt("You answer in verse.", "Hello"), "three", "another"))[0] == 0
    assert (await cached(prompt("You answer in verse.", "Hello"), "four", ""))[0] == 0
    assert (await cached(prompt("You answer in verse.", "Hello"), "one", "house"))[0] > shared
