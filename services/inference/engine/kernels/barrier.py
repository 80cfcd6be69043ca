"""Where the threads of a step wait for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import ADDRESS, I64, LINE_BYTES, Emitter, int64

if TYPE_CHECKING:
    from services.inference.engine.kernels.waiting import Waiting

_ARRIVED, _PHASE, WORK, _SLEEPING = (LINE_BYTES * line for line in range(4))
"""Counters, each in a cache line of its own; at `WORK` what has been taken on since the last barrier."""
BARRIER_BYTES = 4 * LINE_BYTES
_SPINS = 30
"""Looks before a waiting thread offers its processor to others, about a microsecond: where others want it, the thread
that is waited for may be among them."""


def write_barrier(module: Any, waiting: Waiting) -> Any:
    """Waits until so many threads have called: `(counters, threads, the calling thread's line)`.

    A barrier of central counters (Mellor-Crummey and Scott 1991).
    """
    emitter = Emitter(module, "barrier", [ADDRESS, I64, ADDRESS])
    counters, threads, own = emitter.arguments
    build, function = emitter.build, emitter.function
    arrived, phase, work, sleeping = (
        build.bitcast(emitter.at(counters, offset), I64.as_pointer()) for offset in (_ARRIVED, _PHASE, WORK, _SLEEPING)
    )
    before = build.load_atomic(phase, "acquire", 8)
    earlier = build.atomic_rmw("add", arrived, int64(1), "acq_rel")
    last = build.icmp_unsigned("==", earlier, build.sub(threads, int64(1)))
    open_, wait, again, look, tired, offer, rest, sleep, end = (function.append_basic_block() for _ in range(9))
    build.cbranch(last, open_, wait)

    build.position_at_end(open_)
    build.store_atomic(int64(0), arrived, "monotonic", 8)
    build.store_atomic(int64(0), work, "monotonic", 8)
    build.atomic_rmw("xchg", phase, build.add(before, int64(1)), "seq_cst")
    # Who goes to sleep is counted first, and then the system looks at the phase: one of the two is seen.
    with emitter.when(build.icmp_signed("!=", build.load_atomic(sleeping, "seq_cst", 8), int64(0))):
        waiting.wake(emitter, build.bitcast(phase, ADDRESS))
    build.branch(end)

    build.position_at_end(wait)
    build.branch(again)

    build.position_at_end(again)
    looks = build.phi(I64)
    looks.add_incoming(int64(0), wait)
    build.cbranch(build.icmp_unsigned("!=", build.load_atomic(phase, "acquire", 8), before), end, look)

    build.position_at_end(look)
    waiting.pause(emitter)
    more = build.add(looks, int64(1))
    looks.add_incoming(more, look)
    build.cbranch(build.icmp_signed("<", more, int64(_SPINS)), again, tired)

    build.position_at_end(tired)
    build.cbranch(waiting.is_wanted(emitter, own), rest, offer)

    build.position_at_end(offer)
    waiting.offer(emitter, own)
    looks.add_incoming(more, offer)
    build.branch(again)

    build.position_at_end(rest)
    looks.add_incoming(more, rest)
    build.cbranch(waiting.may_sleep(emitter, more), sleep, again)

    build.position_at_end(sleep)
    build.atomic_rmw("add", sleeping, int64(1), "seq_cst")
    waiting.sleep(emitter, own, build.bitcast(phase, ADDRESS), before)
    build.atomic_rmw("sub", sleeping, int64(1), "seq_cst")
    looks.add_incoming(int64(0), sleep)
    build.branch(again)

    build.position_at_end(end)
    return emitter.finish()
