"""Who runs, who waits, who is refused."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.inference.admission import Admission
from services.rpc.errors import DeadlineExceeded, Overloaded


async def _hold(admission: Admission, began: asyncio.Event, release: asyncio.Event, log: list[str], name: str):
    async with admission.enter(), admission.run(None):
        log.append(name)
        began.set()
        await release.wait()


async def test_requests_wait_in_order_and_more_than_the_queue_holds_are_refused():
    admission = Admission(max_running=1, max_queued=2)
    log: list[str] = []
    began, release = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for name in ("first", "second", "third"):
            tasks.create_task(_hold(admission, began, release, log, name))
        await began.wait()
        assert log == ["first"]
        assert admission.queued == 2
        with pytest.raises(Overloaded) as refused:
            async with admission.enter():
                pytest.fail("was let in")
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= 1.0
        release.set()
    assert log == ["first", "second", "third"]
    assert admission.queued == 0


async def test_a_deadline_that_passes_in_the_queue_gives_the_place_up():
    admission = Admission(max_running=1, max_queued=1)
    async with admission.enter(), admission.run(None):
        with pytest.raises(DeadlineExceeded):
            async with admission.enter(), admission.run(time.monotonic() - 1):
                pytest.fail("was let in")
        assert admission.queued == 0
    async with admission.enter(), admission.run(None):
        assert admission.queued == 0


async def test_a_cancelled_waiter_leaves_the_queue():
    admission = Admission(max_running=1, max_queued=1)
    release = asyncio.Event()
    async with admission.enter(), admission.run(None):
        waiter = asyncio.create_task(_hold(admission, asyncio.Event(), release, [], "second"))
        await asyncio.sleep(0)
        assert admission.queued == 1
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert admission.queued == 0


async def test_without_a_queue_a_second_request_is_refused():
    admission = Admission(max_running=1, max_queued=0)
    async with admission.enter(), admission.run(None):
        with pytest.raises(Overloaded):
            async with admission.enter():
                pytest.fail("was let in")
