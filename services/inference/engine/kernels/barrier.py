"""Where the threads of a step wait for each other."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from services.kernels.emitter import ADDRESS, I64, VOID, Emitter, int64

BARRIER_BYTES = 192
"""Three counters, each in a cache line of its own."""
_PHASE = 64
WORK = 128
"""Where the count of what has been taken on since the last barrier is."""
_SPINS = 30
"""Looks before a waiting thread offers its processor to others, about a microsecond: where others want it, the thread
that is waited for may be among them."""


def write_barrier(module: Any, *, x86: bool) -> Any:
    """Waits until so many threads have called: `(counters, threads, yield)`.

    `yield` is the address of a function without arguments that lets other threads run. A barrier of central counters
    (Mellor-Crummey and Scott 1991).
    """
    emitter = Emitter(module, "barrier", [ADDRESS, I64, ADDRESS])
    counters, threads, give_way = emitter.arguments
    build, function = emitter.build, emitter.function
    arrived, phase = (build.bitcast(emitter.at(counters, offset), I64.as_pointer()) for offset in (0, _PHASE))
    before = build.load_atomic(phase, "acquire", 8)
    earlier = build.atomic_rmw("add", arrived, int64(1), "acq_rel")
    last = build.icmp_unsigned("==", earlier, build.sub(threads, int64(1)))
    open_, wait, again, rest, spin, end = (function.append_basic_block() for _ in range(6))
    build.cbranch(last, open_, wait)
    build.position_at_end(open_)
    build.store_atomic(int64(0), arrived, "monotonic", 8)
    work = build.bitcast(emitter.at(counters, int64(WORK)), I64.as_pointer())
    build.store_atomic(int64(0), work, "monotonic", 8)
    build.store_atomic(build.add(before, int64(1)), phase, "release", 8)
    build.branch(end)
    build.position_at_end(wait)
    build.branch(again)
    build.position_at_end(again)
    looks = build.phi(I64)
    looks.add_incoming(int64(0), wait)
    changed = build.icmp_unsigned("!=", build.load_atomic(phase, "acquire", 8), before)
    build.cbranch(changed, end, spin)
    build.position_at_end(spin)
    if x86:
        emitter.call_intrinsic("llvm.x86.sse2.pause", VOID, [])
    more = build.add(looks, int64(1))
    looks.add_incoming(more, spin)
    build.cbranch(build.icmp_unsigned("<", more, int64(_SPINS)), again, rest)
    build.position_at_end(rest)
    build.call(build.bitcast(give_way, ir.FunctionType(VOID, []).as_pointer()), [])
    looks.add_incoming(more, rest)
    build.branch(again)
    build.position_at_end(end)
    return emitter.finish()
