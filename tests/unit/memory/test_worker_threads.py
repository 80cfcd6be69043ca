"""Calls on a few threads: each seen through, whatever becomes of its caller."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest

from services.memory.worker_threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 10.0


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    started = WorkerThreads(1, "test")
    yield started
    started.close()


class _Gate:
    """A call that waits until it is let through, and says how far it has come."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let = threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.begun.set()
        assert self.let.wait(_SECONDS)
        self.ended = True
        return "through"


async def test_a_call_gives_what_its_function_returns_on_another_thread(threads: WorkerThreads) -> None:
    assert await threads.run(threading.get_ident) != threading.get_ident()


async def test_a_call_raises_what_its_function_raises_and_the_next_one_runs(threads: WorkerThreads) -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await threads.run(fail)
    assert await threads.run(lambda: 1) == 1


async def test_calls_run_in_the_order_of_asking(threads: WorkerThreads) -> None:
    order: list[int] = []
    await asyncio.gather(*(threads.run(lambda number=number: order.append(number)) for number in range(50)))
    assert order == list(range(50))


async def test_calls_go_on_beside_one_that_takes_long_and_beside_as_many_as_there_are_threads_for() -> None:
    threads = WorkerThreads(3, "test", patience=0.001)
    long = [_Gate(), _Gate()]
    running = [asyncio.create_task(threads.run(gate)) for gate in long]
    for gate in long:
        assert await asyncio.to_thread(gate.begun.wait, _SECONDS)
    assert [await threads.run(lambda n=number: n) for number in range(20)] == list(range(20))
    third = _Gate()
    last = asyncio.create_task(threads.run(third))
    assert await asyncio.to_thread(third.begun.wait, _SECONDS)
    waiting = asyncio.create_task(threads.run(int))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    long[1].let.set()
    assert await running[1] == "through"
    assert await waiting == 0
    long[0].let.set()
    third.let.set()
    assert await asyncio.gather(running[0], last) == ["through", "through"]
    # As it was before.
    assert await asyncio.gather(*(threads.run(lambda n=number: n) for number in range(20))) == list(range(20))
    threads.close()


async def test_short_calls_run_one_at_a_time() -> None:
    threads = WorkerThreads(4, "test", patience=_SECONDS)
    under_way: set[int] = set()
    most = 0

    def work(number: int) -> None:
        nonlocal most
        under_way.add(number)
        most = max(most, len(under_way))
        time.sleep(0.001)
        under_way.remove(number)

    await asyncio.gather(*(threads.run(lambda n=number: work(n)) for number in range(20)))
    threads.close()
    assert most == 1


async def test_of_calls_of_any_length_none_is_lost_and_none_runs_twice() -> None:
    threads = WorkerThreads(3, "test", patience=0.0005)
    chance = random.Random(3)  # noqa: S311 (not a secret)
    ran: list[int] = []

    def work(number: int, seconds: float) -> int:
        time.sleep(seconds)
        ran.append(number)
        return number

    wanted = [(number, chance.choice([0.0, 0.0, 0.0004, 0.0006, 0.003])) for number in range(400)]

    async def ask(number: int, seconds: float) -> int:
        await asyncio.sleep(chance.random() / 10)
        return await threads.run(lambda: work(number, seconds))

    assert await asyncio.gather(*(ask(*one) for one in wanted)) == list(range(400))
    assert sorted(ran) == list(range(400))
    threads.close()


async def test_a_caller_that_is_cancelled_leaves_only_when_its_call_has_ended(threads: WorkerThreads) -> None:
    gate = _Gate()
    caller = asyncio.create_task(threads.run(gate))
    await asyncio.to_thread(gate.begun.wait, _SECONDS)
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    gate.let.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert gate.ended


async def test_a_call_that_had_not_begun_when_its_caller_was_cancelled_runs_all_the_same(
    threads: WorkerThreads,
) -> None:
    first, second = _Gate(), _Gate()
    second.let.set()
    running = asyncio.create_task(threads.run(first))
    waiting = asyncio.create_task(threads.run(second))
    await asyncio.to_thread(first.begun.wait, _SECONDS)
    waiting.cancel()
    first.let.set()
    assert await running == "through"
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert second.ended


async def test_a_deadline_passes_as_such_once_the_call_has_ended(threads: WorkerThreads) -> None:
    gate = _Gate()
    asyncio.get_running_loop().call_later(0.05, gate.let.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await threads.run(gate)
    assert gate.ended


async def test_nothing_of_a_call_is_kept_once_it_has_ended(threads: WorkerThreads) -> None:
    class Big:
        pass

    class Failure(Exception):
        pass

    def fail() -> None:
        raise Failure

    gc.disable()
    try:
        made = weakref.ref(await threads.run(Big))
        try:
            await threads.run(fail)
        except Failure as failure:
            raised = weakref.ref(failure)
        assert await threads.run(int) == 0
        assert made() is None
        assert raised() is None
    finally:
        gc.enable()


def test_what_waits_is_run_before_the_threads_end() -> None:
    threads = WorkerThreads(1, "test")
    ran: list[int] = []

    async def ask() -> None:
        waiting = [asyncio.create_task(threads.run(lambda number=number: ran.append(number))) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(threads.close)
        await asyncio.gather(*waiting)

    asyncio.run(ask())
    assert ran == list(range(20))


async def test_threads_that_were_closed_refuse_rather_than_let_wait() -> None:
    threads = WorkerThreads(1, "test")
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        await threads.run(int)


def test_a_loop_that_was_closed_meanwhile_does_no_harm() -> None:
    threads = WorkerThreads(1, "test")
    gate = _Gate()

    async def leave() -> None:
        caller = threads.run(gate)
        caller.send(None)
        await asyncio.to_thread(gate.begun.wait, _SECONDS)
        with pytest.raises(GeneratorExit):
            caller.throw(GeneratorExit)

    asyncio.run(leave())
    gate.let.set()
    threads.close()
    assert gate.ended
