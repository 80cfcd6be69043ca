"""Threads that serve a step sleep until the next: whether one offers its processor first is up to who wants it."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.inference.engine.kernels.barrier import BARRIER_BYTES, write_barrier
from services.inference.engine.kernels.crew_kernel import line_of, write_lead, write_serve
from services.inference.engine.kernels.step_tables import StepField
from services.inference.engine.kernels.system_calls import SystemCalls, find_system_calls
from services.inference.engine.kernels.waiting import WANTED, Waiting
from services.kernels.emitter import ADDRESS, I64, LINE_BYTES, Emitter, int64
from services.kernels.machine_code import Target
from services.kernels.table import address_of

CALLS = find_system_calls()
needs_sleep = pytest.mark.skipif(CALLS.futex is None, reason="the system is not known to have a call for it")
MILLISECOND = 1_000_000


class Processor:
    """Stands for one that those who serve offer to others: every offer lasts as long as a test says."""

    def __init__(self) -> None:
        self.offers = 0
        self._leader = threading.get_ident()
        self.offer_nanoseconds = 0
        self._now = 0
        self._give_way = ctypes.CFUNCTYPE(None)(self._take)
        self._clock_gettime = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int64))(self._tell)

    @property
    def calls(self) -> SystemCalls:
        """What compiled code calls of the system, with this for its processor and its clock."""
        give_way, clock = (ctypes.cast(one, ctypes.c_void_p).value for one in (self._give_way, self._clock_gettime))
        assert CALLS.futex is not None
        assert give_way is not None
        assert clock is not None
        return replace(CALLS, give_way=give_way, futex=replace(CALLS.futex, clock_gettime=clock))

    def _take(self) -> None:
        if threading.get_ident() == self._leader:
            return
        self.offers += 1
        self._now += self.offer_nanoseconds

    def _tell(self, kind: int, time_: Any) -> int:
        del kind
        time_[0], time_[1] = divmod(self._now, 10**9)
        return 0


class Crew:
    """Threads that serve steps in which they wait for each other, and count who ran them."""

    def __init__(self, calls: SystemCalls, threads: int) -> None:
        target = Target()
        module = target.module("crew")
        waiting = Waiting(module, calls, x86=target.processor.x86)
        barrier = write_barrier(module, waiting)
        emitter = Emitter(module, "step", [ADDRESS, I64])
        table, thread = emitter.arguments
        lines = emitter.load_address(table, 8 * StepField.ALL)
        line = line_of(emitter, lines, thread)
        emitter.store(emitter.build.add(emitter.load(I64, line), int64(1)), line)
        own = line_of(emitter, emitter.load_address(table, 8 * StepField.STATES), thread)
        counters = emitter.load_address(table, 8 * StepField.BARRIER)
        emitter.build.call(barrier, [counters, emitter.load(I64, table, 8 * StepField.THREADS), own])
        step = emitter.finish()
        write_lead(module, step, calls)
        write_serve(module, step, calls, waiting)
        self._code = target.compile(module)
        self._lead = self._code.function("lead", [ctypes.c_void_p])
        self._table = np.zeros(len(StepField), dtype=np.int64)
        self._generation = np.zeros(1, dtype=np.int64)
        self._counters = np.zeros(BARRIER_BYTES, dtype=np.uint8)
        self._byte = np.zeros(1, dtype=np.int64)
        self._pipe = os.pipe()
        self.steps = 0
        self.runs = np.zeros((threads, LINE_BYTES // 8), dtype=np.int64)
        self.lines = np.zeros((threads, LINE_BYTES // 8), dtype=np.int64)
        fields = {
            StepField.THREADS: threads,
            StepField.BARRIER: address_of(self._counters),
            StepField.GENERATION: address_of(self._generation),
            StepField.STATES: address_of(self.lines),
            StepField.PIPE_OUT: self._pipe[0],
            StepField.PIPE_IN: self._pipe[1],
            StepField.BYTE: address_of(self._byte),
            StepField.ALL: address_of(self.runs),
        }
        for field, value in fields.items():
            self._table[field] = value
        serve = self._code.function("serve", [ctypes.c_void_p, ctypes.c_int64])
        self._servants = [
            threading.Thread(target=serve, args=(address_of(self._table), number), daemon=True)
            for number in range(1, threads)
        ]

    @property
    def wanted(self) -> list[int]:
        """Of each thread that serves, how often more it is going to sleep at once."""
        return [int(number) for number in self.lines[1:, WANTED // 8]]

    def step(self) -> None:
        """Has all run a step once they sleep, and returns when they have run it and sleep again."""
        self._wait_for_sleep()
        self.steps += 1
        self._lead(address_of(self._table))
        self._wait_for_sleep()

    @contextmanager
    def serving(self, wanted: int) -> Iterator[None]:
        """Has the threads there, each of which is first going to sleep at once so often."""
        self.lines[1:, WANTED // 8] = wanted
        for servant in self._servants:
            servant.start()
        try:
            yield
        finally:
            self._table[StepField.STOP] = 1
            self._lead(address_of(self._table))
            for servant in self._servants:
                servant.join(60)
            assert not any(servant.is_alive() for servant in self._servants)
            for end in self._pipe:
                os.close(end)

    def _wait_for_sleep(self) -> None:
        give_up_at = time.monotonic() + 60
        while not ((self.runs[1:, 0] == self.steps).all() and self.lines[1:, 0].all()):
            assert time.monotonic() < give_up_at
            time.sleep(0.001)


@pytest.fixture
def crew() -> Iterator[Callable[..., Crew]]:
    with ExitStack() as stack:

        def start(calls: SystemCalls = CALLS, threads: int = 2, wanted: int = 0) -> Crew:
            crew = Crew(calls, threads)
            stack.enter_context(crew.serving(wanted))
            return crew

        yield start


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_thread_runs_each_step_once(crew: Callable[..., Crew], threads: int):
    of = crew(threads=threads)
    for _ in range(100):
        of.step()
    assert of.runs[:, 0].tolist() == [100] * threads


@needs_sleep
def test_a_thread_whose_processor_was_wanted_sleeps_at_once_and_offers_it_anew_after_some_sleeps(
    crew: Callable[..., Crew],
):
    processor = Processor()
    of = crew(processor.calls, wanted=10)
    while of.wanted != [0]:
        before = of.wanted
        assert processor.offers == 0
        of.step()
        assert of.wanted < before
    of.step()
    assert processor.offers > 1
    assert of.wanted == [0]


@needs_sleep
@pytest.mark.parametrize(("lasts", "is_taken_up"), [(MILLISECOND - 1, False), (MILLISECOND + 1, True)])
def test_a_thread_notices_where_its_offer_is_taken_up(crew: Callable[..., Crew], lasts: int, is_taken_up: bool):
    processor = Processor()
    processor.offer_nanoseconds = lasts
    of = crew(processor.calls)
    of.step()
    assert (processor.offers == 1) == is_taken_up
    assert (of.wanted > [0]) == is_taken_up
