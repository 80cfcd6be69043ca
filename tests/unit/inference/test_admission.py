"""Who runs, who waits, who is refused."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.admission import Admission, _Waiter
from services.inference.fair_queue import FairQueue
from services.rpc.errors import DeadlineExceeded, Overloaded


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when it has nothing else to do, and then at once."""

    _now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready:
            due = min((timer.when() for timer in self._scheduled if not timer.cancelled()), default=self._now)
            self._now = max(self._now, due)
        super()._run_once()


class _WatchedQueue(FairQueue[_Waiter]):
    """Fails where a caller has two turns while another waits for one."""

    def __init__(self) -> None:
        super().__init__()
        self.served_since: dict[str, list[str]] = {}

    def add(self, name: str, item: _Waiter) -> None:
        if not self.waiting_of(name):
            self.served_since[name] = []
        super().add(name, item)

    def take(self) -> _Waiter:
        item = super().take()
        name = item.caller
        self.served_since[name] = []
        for other, served in self.served_since.items():
            if other != name and self.waiting_of(other):
                assert name not in served
                served.append(name)
        return item


async def _hold(admission: Admission, release: asyncio.Event, log: list[str], name: str):
    caller = name[0]
    async with admission.enter(caller), admission.run(caller, None):
        log.append(name)
        await release.wait()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_callers_requests_wait_in_order_and_more_than_the_queue_holds_are_refused():
    admission = Admission(max_running=1, max_queued=2, max_queued_per_caller=2)
    log: list[str] = []
    release = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for name in ("a1", "a2", "a3"):
            tasks.create_task(_hold(admission, release, log, name))
        await _settle()
        assert log == ["a1"]
        assert (admission.running, admission.queued) == (1, 2)
        with pytest.raises(Overloaded) as refused:
            async with admission.enter("b"):
                pytest.fail("was let in")
        assert refused.value.retry_after is not None
        assert refused.value.retry_after >= 1.0
        release.set()
    assert log == ["a1", "a2", "a3"]
    assert (admission.running, admission.queued) == (0, 0)


async def test_one_callers_sixty_requests_keep_anothers_one_waiting_for_one_of_them():
    admission = Admission(max_running=2, max_queued=100, max_queued_per_caller=100)
    log: list[str] = []
    release = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(60):
            tasks.create_task(_hold(admission, release, log, f"a{number}"))
        await _settle()
        tasks.create_task(_hold(admission, release, log, "b"))
        await _settle()
        release.set()
    assert log.index("b") == 2
    assert len(log) == 61


async def test_a_caller_whose_share_of_the_queue_is_full_is_refused_and_another_is_not():
    admission = Admission(max_running=2, max_queued=10, max_queued_per_caller=3)
    release = asyncio.Event()
    log: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        # Two that run and three that wait, all at once: places that are free do not count against the share.
        for number in range(5):
            tasks.create_task(_hold(admission, release, log, f"a{number}"))
        await _settle()
        with pytest.raises(Overloaded, match="your requests"):
            async with admission.enter("a"):
                pytest.fail("was let in")
        tasks.create_task(_hold(admission, release, log, "b"))
        await _settle()
        assert admission.queued == 4
        release.set()
    assert "b" in log


async def test_a_deadline_that_passes_in_the_queue_gives_the_place_up():
    admission = Admission(max_running=1, max_queued=1, max_queued_per_caller=1)
    async with admission.enter("a"), admission.run("a", None):
        for deadline in (time.monotonic() - 1, time.monotonic() + 0.01):
            with pytest.raises(DeadlineExceeded):
                async with admission.enter("b"), admission.run("b", deadline):
                    pytest.fail("was let in")
            assert admission.queued == 0
    async with admission.enter("b"), admission.run("b", None):
        assert (admission.running, admission.queued) == (1, 0)


async def test_a_cancelled_waiter_leaves_the_queue_at_once():
    admission = Admission(max_running=1, max_queued=1, max_queued_per_caller=1)
    async with admission.enter("a"), admission.run("a", None):
        waiter = asyncio.create_task(_hold(admission, asyncio.Event(), [], "b"))
        await asyncio.sleep(0)
        assert admission.queued == 1
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert admission.queued == 0


async def test_a_place_given_to_one_that_is_leaving_goes_to_the_next():
    admission = Admission(max_running=1, max_queued=2, max_queued_per_caller=2)
    log: list[str] = []
    first, release = asyncio.Event(), asyncio.Event()

    async def run_first() -> None:
        await _hold(admission, first, log, "a1")
        leaving.cancel()  # in the same turn of the loop

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_first())
        await _settle()
        leaving = tasks.create_task(_hold(admission, release, log, "a2"))
        await _settle()
        tasks.create_task(_hold(admission, release, log, "a3"))
        await _settle()
        first.set()
        await _settle()
        release.set()
    assert log == ["a1", "a3"]
    assert (admission.running, admission.queued) == (0, 0)


async def test_without_a_queue_a_second_request_is_refused():
    admission = Admission(max_running=1, max_queued=0, max_queued_per_caller=0)
    async with admission.enter("a"), admission.run("a", None):
        with pytest.raises(Overloaded):
            async with admission.enter("b"):
                pytest.fail("was let in")


async def test_when_to_come_back_follows_from_how_fast_places_become_free():
    clock = _Clock()
    admission = Admission(max_running=1, max_queued=3, max_queued_per_caller=3, clock=clock)
    releases = [asyncio.Event() for _ in range(4)]
    async with asyncio.TaskGroup() as tasks:
        for number, release in enumerate(releases):
            tasks.create_task(_hold(admission, release, [], f"a{number}"))
        await _settle()
        clock.now += 3.0
        releases[0].set()
        await _settle()
        tasks.create_task(_hold(admission, releases[3], [], "a4"))
        await _settle()
        with pytest.raises(Overloaded) as refused:
            async with admission.enter("b"):
                pytest.fail("was let in")
        # Three wait, this would be the fourth, and a place takes three seconds to become free.
        assert refused.value.retry_after == pytest.approx(12.0)
        clock.now += 100.0
        with pytest.raises(Overloaded) as refused:
            async with admission.enter("b"):
                pytest.fail("was let in")
        assert refused.value.retry_after == 60.0
        for release in releases:
            release.set()


@dataclass(frozen=True)
class Visit:
    """A request: when it comes, whose it is, how long it runs, and when it is given up or has its deadline."""

    arrives: int
    caller: str
    runs: int
    leaves_after: int | None
    deadline_after: int | None


VISITS = st.lists(
    st.builds(
        Visit,
        arrives=st.integers(0, 20),
        caller=st.sampled_from("abcd"),
        runs=st.integers(0, 8),
        leaves_after=st.none() | st.integers(0, 12),
        deadline_after=st.none() | st.integers(0, 12),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(visits=VISITS, max_running=st.integers(1, 4), max_queued=st.integers(0, 12), share=st.integers(0, 8))
def test_whoever_comes_and_goes_places_are_used_none_is_lost_and_nobody_starves(
    visits: list[Visit], max_running: int, max_queued: int, share: int
):
    outcomes: Counter[str] = Counter()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        admission = Admission(max_running, max_queued, share, clock=loop.time)
        admission._queue = queue = _WatchedQueue()
        inside = 0

        def check() -> None:
            assert inside <= max_running
            assert admission.queued + admission.running <= max_running + max_queued
            # Nobody waits beside a free place.
            assert not (len(queue) and admission._free)

        async def serve(visit: Visit) -> None:
            nonlocal inside
            await asyncio.sleep(visit.arrives)
            deadline = None if visit.deadline_after is None else loop.time() + visit.deadline_after
            try:
                async with admission.enter(visit.caller), admission.run(visit.caller, deadline):
                    inside += 1
                    try:
                        check()
                        await asyncio.sleep(visit.runs)
                        outcomes["served"] += 1
                    finally:
                        inside -= 1
            except Overloaded:
                assert admission.queued >= min(max_queued, share)
                outcomes["refused"] += 1
            except DeadlineExceeded:
                assert deadline is not None
                assert loop.time() == deadline
                outcomes["late"] += 1
            finally:
                check()

        async def visit(one: Visit) -> None:
            task = asyncio.create_task(serve(one))
            if one.leaves_after is not None:
                loop.call_later(one.arrives + one.leaves_after, task.cancel)
            await asyncio.wait({task})
            if task.cancelled():
                outcomes["left"] += 1
            else:
                task.result()

        async with asyncio.timeout(10_000):
            await asyncio.gather(*(visit(one) for one in visits))
        assert (admission.running, admission.queued, len(queue)) == (0, 0, 0)
        assert admission._free == max_running
        assert queue._callers == {}
        assert not admission._entered

    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        runner.run(run())
    assert outcomes.total() == len(visits)
