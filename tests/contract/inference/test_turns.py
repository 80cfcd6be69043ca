"""Callers at the door: who waits for whom, who is refused, and what `GetLoad` says meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from chatbot.v1 import inference_service_pb2 as pb
from services.inference.engine.fake import FakeEngine
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Serve = Callable[..., Awaitable[object]]


def _ask(stub, caller: str | None, *, cache_key: str = "", timeout: float | None = None):
    metadata = () if caller is None else (("x-caller", caller),)
    request = pb.GenerateRequest(text=caller or cache_key or "x", cache_key=cache_key)
    return stub.Generate(request, metadata=metadata, timeout=timeout)


async def _events(call) -> list[pb.GenerateResponse]:
    return [event async for event in call]


async def _until(stub, *, running: int, queued: int) -> pb.GetLoadResponse:
    async with asyncio.timeout(20):
        while True:
            load = await stub.GetLoad(pb.GetLoadRequest())
            if (load.running_requests, load.queued_requests) == (running, queued):
                return load


@pytest.mark.parametrize("named", [True, False])
async def test_many_requests_of_one_caller_keep_anothers_waiting_for_two_at_most(serve: Serve, named: bool):
    engine = FakeEngine(("a", "b"), pause_after=1)
    stub = await serve(engine, max_running_requests=1)

    def ask(caller: str):
        return asyncio.ensure_future(_events(_ask(stub, caller) if named else _ask(stub, None, cache_key=caller)))

    many = [ask("busy") for _ in range(12)]
    await _until(stub, running=1, queued=11)
    one = ask("quiet")
    await _until(stub, running=1, queued=12)
    engine.resume.set()
    await asyncio.gather(*many, one)
    order = [engine.text_of(request.prompt) for request in engine.requests]
    assert sorted(order) == ["busy"] * 12 + ["quiet"]
    assert order.index("quiet") <= 2
    await _until(stub, running=0, queued=0)


async def test_a_name_goes_before_the_cache_key_and_an_address_stands_for_whoever_has_neither(serve: Serve):
    stub = await serve(engine := FakeEngine())
    for caller, key in (("ann", "k"), ("ann", "l"), (None, "k"), (None, "ann"), (None, ""), (None, "")):
        await _events(_ask(stub, caller, cache_key=key))
    ann, ann_again, by_key, other_key, here, here_again = [request.caller for request in engine.requests]
    assert ann == ann_again
    assert here == here_again
    assert len({ann, by_key, other_key, here}) == 4


async def test_a_caller_with_a_full_share_is_refused_with_a_time_to_retry_and_another_is_not(serve: Serve):
    engine = FakeEngine(("a", "b"), pause_after=1)
    stub = await serve(engine, max_running_requests=1, max_queued_requests=8, max_queued_requests_per_caller=2)
    busy = [asyncio.ensure_future(_events(_ask(stub, "busy"))) for _ in range(3)]
    await _until(stub, running=1, queued=2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _events(_ask(stub, "busy"))
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.Overloaded)
    assert error.retry_after is not None
    assert error.retry_after >= 1
    assert "busy" not in error.message
    quiet = asyncio.ensure_future(_events(_ask(stub, "quiet")))
    await _until(stub, running=1, queued=3)
    engine.resume.set()
    await asyncio.gather(*busy, quiet)


async def test_cancelling_in_the_queue_frees_the_place_at_once(serve: Serve):
    engine = FakeEngine(("a", "b"), pause_after=1)
    stub = await serve(engine, max_running_requests=1, max_queued_requests=1)
    running = _ask(stub, "a")
    await running.read()
    for _ in range(5):
        queued = _ask(stub, "b")
        await _until(stub, running=1, queued=1)
        queued.cancel()
        await _until(stub, running=1, queued=0)
    running.cancel()
    load = await _until(stub, running=0, queued=0)
    assert load.kv_tokens_used == 0
    assert len(engine.requests) == 1


async def test_the_wait_at_the_door_is_part_of_the_time_in_the_queue(serve: Serve):
    engine = FakeEngine(("a", "b"), pause_after=1)
    stub = await serve(engine, max_running_requests=1)
    running = asyncio.ensure_future(_events(_ask(stub, "a")))
    await _until(stub, running=1, queued=0)
    queued = asyncio.ensure_future(_events(_ask(stub, "b")))
    await _until(stub, running=1, queued=1)
    waits_since = time.monotonic()
    await _until(stub, running=1, queued=1)
    waited = time.monotonic() - waits_since
    engine.resume.set()
    _, events = await asyncio.gather(running, queued)
    told = events[0].started.queue_time
    assert told.ToMicroseconds() >= int(waited * 1e6)
    assert events[-1].finished.timings.queue_time == told


async def test_load_is_back_to_nothing_after_cancels_and_deadlines_of_any_kind(serve: Serve):
    engine = FakeEngine(("a", "b"), pause_after=1)
    stub = await serve(engine, max_running_requests=3, max_queued_requests=50)
    calls = [_ask(stub, "abc"[n % 3], timeout=0.4 if n % 4 == 0 else None) for n in range(24)]
    tasks = [asyncio.ensure_future(_events(call)) for call in calls]
    async with asyncio.timeout(20):
        while (await stub.GetLoad(pb.GetLoadRequest())).running_requests < 3:
            pass
    for call in calls[1::2]:
        call.cancel()
    await asyncio.wait({task for task, call in zip(tasks, calls, strict=True) if call in calls[::4]})
    engine.resume.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    load = await _until(stub, running=0, queued=0)
    assert (load.kv_tokens_used, load.max_running_requests) == (0, 3)
    # Those that were neither cancelled nor had a deadline.
    assert all(results[n][-1].HasField("finished") for n in range(2, 24, 4))
