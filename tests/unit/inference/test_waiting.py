"""Threads of a step wait for each other: always for all, whether they look, offer their processor or sleep."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from services.inference.engine.kernels.barrier import BARRIER_BYTES, write_barrier
from services.inference.engine.kernels.system_calls import SystemCalls, find_system_calls
from services.inference.engine.kernels.waiting import WANTED, Waiting
from services.kernels.emitter import ADDRESS, I64, LINE_BYTES, Emitter, int64
from services.kernels.machine_code import Target
from services.kernels.table import address_of

CALLS = find_system_calls()
THREADS = 4
FOR_EVER = 2**40
LATE = 2_000
"""Looks."""
needs_sleep = pytest.mark.skipif(CALLS.futex is None, reason="the system is not known to have a call for it")


class Meetings:
    """Threads that meet again and again, each of which notes how often it has been there and looks at all others'."""

    def __init__(self, calls: SystemCalls) -> None:
        target = Target()
        module = target.module("meetings")
        waiting = Waiting(module, calls, x86=target.processor.x86)
        barrier = write_barrier(module, waiting)
        emitter = Emitter(module, "meet", [ADDRESS, ADDRESS, ADDRESS, I64, I64])
        counters, lines, late, thread, rounds = emitter.arguments
        build = emitter.build
        own = emitter.at(lines, build.mul(thread, int64(LINE_BYTES)))

        def meet() -> None:
            build.call(barrier, [counters, int64(THREADS), own])

        with emitter.loop(int64(0), rounds) as number:
            been = build.add(number.index, int64(1))
            emitter.store(been, own, 2 * WANTED)
            # However many processors there are, the first is waited for long enough.
            with emitter.loop(int64(0), build.select(build.icmp_signed("==", thread, int64(0)), int64(LATE), int64(0))):
                waiting.pause(emitter)
                build.load_atomic(build.bitcast(counters, I64.as_pointer()), "acquire", 8)
            meet()
            with emitter.loop(int64(0), int64(THREADS)) as other:
                line = emitter.at(lines, build.mul(other.index, int64(LINE_BYTES)))
                is_late = build.icmp_signed("!=", emitter.load(I64, line, 2 * WANTED), been)
                with emitter.when(is_late):
                    emitter.store(been, late)
            meet()
        emitter.finish()
        self._code = target.compile(module)
        self._meet = self._code.function("meet", [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2)
        self._counters = np.zeros(2 * BARRIER_BYTES, dtype=np.uint8)
        # Where a cache line begins.
        self._at = -address_of(self._counters) % LINE_BYTES + address_of(self._counters)
        self.lines = np.zeros((THREADS, LINE_BYTES // 8), dtype=np.int64)
        self.late = np.zeros(1, dtype=np.int64)

    def hold(self, rounds: int) -> None:
        """Has the threads meet so often; fails where they have not all come after a minute."""
        given = self._at, address_of(self.lines), address_of(self.late)
        threads = [
            threading.Thread(target=self._meet, args=(*given, number, rounds), daemon=True) for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        give_up_at = time.monotonic() + 60
        for thread in threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))
        assert not any(thread.is_alive() for thread in threads)
        assert not self.late[0]

    @property
    def wanted(self) -> list[int]:
        """Of each thread, how often more it is going to sleep."""
        return [int(number) for number in self.lines[:, WANTED // 8]]


def test_nobody_goes_on_before_all_have_come():
    Meetings(CALLS).hold(5_000)


@needs_sleep
def test_nobody_goes_on_before_all_have_come_or_is_left_asleep_where_they_sleep():
    meetings = Meetings(CALLS)
    meetings.lines[:, WANTED // 8] = FOR_EVER
    meetings.hold(5_000)
    assert sum(FOR_EVER - left for left in meetings.wanted) > 1_000


@needs_sleep
def test_some_may_sleep_while_others_offer_their_processors():
    meetings = Meetings(CALLS)
    meetings.lines[::2, WANTED // 8] = FOR_EVER
    meetings.hold(5_000)
    assert sum(FOR_EVER - left for left in meetings.wanted[::2]) > 1_000


def test_where_the_system_has_no_call_for_it_nobody_sleeps():
    meetings = Meetings(replace(CALLS, futex=None))
    meetings.hold(2_000)
    assert meetings.wanted == [0] * THREADS


@needs_sleep
def test_a_thread_whose_processor_others_want_notices_and_sleeps():
    meetings = Meetings(CALLS)
    with ExitStack() as running:
        for _ in range(2 * (os.cpu_count() or 1)):
            busy = running.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            running.callback(busy.kill)
        give_up_at = time.monotonic() + 60
        while not any(meetings.wanted):
            assert time.monotonic() < give_up_at
            meetings.hold(100)
