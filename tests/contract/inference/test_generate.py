"""`Generate`: events, endings, limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from chatbot.v1 import chat_message_pb2 as chat
from chatbot.v1 import inference_service_pb2 as pb
from services.inference.engine.fake import FakeEngine
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Serve = Callable[..., Awaitable[object]]

HELLO = pb.ChatMessages(messages=[chat.ChatMessage(role=chat.ROLE_USER, content="Привет, мир")])


def _asked(**sampling: object) -> pb.GenerateRequest:
    return pb.GenerateRequest(messages=HELLO, sampling=pb.SamplingConfig(**sampling))


async def _events(call: AsyncIterator[pb.GenerateResponse]) -> list[pb.GenerateResponse]:
    return [event async for event in call]


def _text(events: list[pb.GenerateResponse]) -> str:
    return "".join(event.delta.text for event in events)


async def _until_idle(stub) -> pb.GetLoadResponse:
    async with asyncio.timeout(10):
        while True:
            load = await stub.GetLoad(pb.GetLoadRequest())
            if load.running_requests == 0 and load.queued_requests == 0:
                return load


async def test_a_reply_is_started_once_then_deltas_then_finished_once(serve: Serve):
    stub = await serve(FakeEngine(("The", " capital", " is", " Paris", ".")))
    events = await _events(stub.Generate(_asked()))
    assert [e.WhichOneof("event") for e in events] == ["started", *["delta"] * 5, "finished"]
    assert _text(events) == "The capital is Paris."
    finished = events[-1].finished
    assert finished.finish_reason == chat.FINISH_REASON_EOS
    assert finished.usage.completion_tokens == 5
    assert finished.usage.prompt_tokens == events[0].started.prompt_tokens == 4


async def test_started_tells_everything_that_applies(serve: Serve):
    stub = await serve(FakeEngine(), max_tokens_limit=100)
    started = (await _events(stub.Generate(_asked())))[0].started
    assert started.model == "fake"
    assert started.context_tokens == 4096
    applied = started.sampling
    assert applied.max_tokens == 100
    for field in applied.DESCRIPTOR.fields_by_name.values():
        if field.name not in {"stop", "logprobs"}:
            assert applied.HasField(field.name), field.name


async def test_what_a_request_sets_applies_zeros_included(serve: Serve):
    stub = await serve(engine := FakeEngine())
    config = pb.SamplingConfig(
        temperature=0, top_p=0.5, top_k=0, min_p=0.25, repetition_penalty=1.5, frequency_penalty=-2,
        presence_penalty=2, seed=0, max_tokens=7, stop=["x"], logprobs=0,
    )  # fmt: skip
    events = await _events(stub.Generate(pb.GenerateRequest(messages=HELLO, sampling=config, cache_key="c/1")))
    assert events[0].started.sampling == config
    assert engine.requests[0].sampling.seed == 0
    assert engine.requests[0].cache_key == "c/1"


async def test_the_seed_is_drawn_anew_for_each_request_that_sets_none(serve: Serve):
    stub = await serve(engine := FakeEngine())
    for _ in range(4):
        await _events(stub.Generate(_asked()))
    assert len({r.sampling.seed for r in engine.requests}) > 1


async def test_text_and_tokens_reach_the_engine_as_they_are(serve: Serve):
    stub = await serve(engine := FakeEngine())
    await _events(stub.Generate(pb.GenerateRequest(text="once upon a time")))
    await _events(stub.Generate(pb.GenerateRequest(token_ids=pb.TokenIds(ids=[0, 2]))))
    assert [engine.text_of(r.prompt) for r in engine.requests] == ["once upon a time", "once a"]


async def test_a_stop_string_ends_the_reply_and_is_not_part_of_it(serve: Serve):
    stub = await serve(FakeEngine(("One", " two", "\nUs", "er:", " three")))
    events = await _events(stub.Generate(_asked(stop=["\nUser:"])))
    assert _text(events) == "One two"
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_STOP_STRING
    assert events[-1].finished.stop == "\nUser:"


async def test_max_tokens_and_a_full_context_are_told_apart(serve: Serve):
    stub = await serve(FakeEngine(("a",) * 100, context_tokens=20))
    limited = await _events(stub.Generate(_asked(max_tokens=3)))
    full = await _events(stub.Generate(_asked(max_tokens=90)))
    assert limited[-1].finished.finish_reason == chat.FINISH_REASON_MAX_TOKENS
    assert _text(limited) == "aaa"
    assert full[-1].finished.finish_reason == chat.FINISH_REASON_CONTEXT_FULL
    assert full[-1].finished.usage.prompt_tokens + full[-1].finished.usage.completion_tokens == 20


async def test_a_reply_without_max_tokens_that_fills_the_context_says_so(serve: Serve):
    stub = await serve(FakeEngine(("a",) * 100, context_tokens=20))
    events = await _events(stub.Generate(_asked()))
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_CONTEXT_FULL


async def test_max_tokens_beyond_the_service_limit_are_cut_to_it(serve: Serve):
    stub = await serve(FakeEngine(("a",) * 100), max_tokens_limit=5)
    events = await _events(stub.Generate(_asked(max_tokens=2_000_000_000)))
    assert events[0].started.sampling.max_tokens == 5
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_MAX_TOKENS


async def test_logprobs_come_one_a_token_with_as_many_alternatives_as_asked(serve: Serve):
    stub = await serve(FakeEngine(("При", "вет")))
    events = await _events(stub.Generate(_asked(logprobs=3)))
    logprobs = [p for e in events for p in e.delta.logprobs]
    assert [p.token.decode() for p in logprobs] == ["При", "вет"]
    assert [len(p.top) for p in logprobs] == [3, 3]
    assert all(p.logprob < 0 for p in logprobs)


async def test_without_logprobs_none_come(serve: Serve):
    stub = await serve(FakeEngine())
    assert not [p for e in await _events(stub.Generate(_asked())) for p in e.delta.logprobs]


async def test_cancelling_frees_the_place(serve: Serve):
    stub = await serve(FakeEngine(("a", "b", "c"), pause_after=1))
    call = stub.Generate(_asked())
    assert (await call.read()).WhichOneof("event") == "started"
    assert (await call.read()).delta.text == "a"
    load = await stub.GetLoad(pb.GetLoadRequest())
    assert load.running_requests == 1
    assert load.kv_tokens_used > 0
    call.cancel()
    assert (await _until_idle(stub)).kv_tokens_used == 0


async def test_a_deadline_while_generating_still_delivers_finished(serve: Serve):
    stub = await serve(FakeEngine(("a", "b"), pause_after=1))
    events = await _events(stub.Generate(_asked(), timeout=1.0))
    assert _text(events) == "a"
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_DEADLINE


async def test_a_deadline_in_the_queue_is_deadline_exceeded(serve: Serve):
    stub = await serve(FakeEngine(("a", "b"), pause_after=1), max_running_requests=1)
    first = stub.Generate(_asked())
    await first.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _events(stub.Generate(_asked(), timeout=0.3))
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    first.cancel()
    await _until_idle(stub)


async def test_more_than_can_run_and_wait_are_refused_with_a_time_to_retry(serve: Serve):
    engine = FakeEngine(("a", "b"), pause_after=1)
    stub = await serve(engine, max_running_requests=1, max_queued_requests=1)
    running = asyncio.create_task(_events(stub.Generate(_asked())))
    async with asyncio.timeout(10):
        while (await stub.GetLoad(pb.GetLoadRequest())).running_requests == 0:
            pass
    queued = asyncio.create_task(_events(stub.Generate(_asked())))
    async with asyncio.timeout(10):
        while (await stub.GetLoad(pb.GetLoadRequest())).queued_requests == 0:
            pass
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _events(stub.Generate(_asked()))
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.Overloaded)
    assert error.retry_after is not None
    assert error.retry_after >= 1
    engine.resume.set()
    assert _text(await queued) == "ab"
    assert _text(await running) == "ab"
    await _until_idle(stub)


async def test_several_replies_at_once_are_never_mixed(serve: Serve):
    stub = await serve(FakeEngine(lambda prompt: [f"{word};" for word in prompt.split()]))
    prompts = [" ".join(f"{n}-{k}" for k in range(20)) for n in range(12)]
    replies = await asyncio.gather(*(_events(stub.Generate(pb.GenerateRequest(text=p))) for p in prompts))
    assert [_text(events) for events in replies] == ["".join(f"{w};" for w in p.split()) for p in prompts]


async def test_a_prompt_that_fills_the_context_is_refused_before_any_event(serve: Serve):
    stub = await serve(FakeEngine(context_tokens=20))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _events(stub.Generate(pb.GenerateRequest(text="w " * 20)))
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.ContextTooLong)
    assert error.metadata == {"n_prompt": "21", "n_context": "20"}


async def test_a_prompt_that_leaves_room_for_one_token_is_taken(serve: Serve):
    stub = await serve(FakeEngine(context_tokens=20))
    events = await _events(stub.Generate(pb.GenerateRequest(text=" ".join("w" * 19))))
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_CONTEXT_FULL
    assert events[-1].finished.usage.completion_tokens == 1


async def test_a_lost_engine_ends_every_reply_with_engine_lost(serve: Serve):
    stub = await serve(FakeEngine(("a", "b", "c"), die_after=1))
    call = stub.Generate(_asked())
    with pytest.raises(grpc.aio.AioRpcError) as lost:
        await _events(call)
    assert isinstance(errors.from_rpc_error(lost.value), errors.EngineLost)


async def test_until_the_model_is_loaded_every_call_says_so(serve: Serve):
    stub = await serve(FakeEngine(), load=False)
    calls = [
        _events(stub.Generate(_asked())),
        stub.CountTokens(pb.CountTokensRequest(text="a")),
        stub.GetModel(pb.GetModelRequest()),
        stub.GetLoad(pb.GetLoadRequest()),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        error = errors.from_rpc_error(refused.value)
        assert isinstance(error, errors.ModelLoading)
        assert error.retry_after is not None
