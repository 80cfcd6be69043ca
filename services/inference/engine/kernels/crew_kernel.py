"""How the threads of a step begin it together, without Python: a wake through Python would wait for its lock.

One leads. The others serve: they look for the next step for a while, offer their processor to others for a while more
unless these want it, and then sleep in a read from a pipe, into which the leader writes when it finds them asleep.
In a step they have to wait for each other at least once: one that was done before another had woken could sleep again,
and read the byte that was written for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.step_tables import StepField
from services.kernels.emitter import ADDRESS, I32, I64, LINE_BYTES, Emitter, int64

if TYPE_CHECKING:
    from services.inference.engine.kernels.system_calls import SystemCalls
    from services.inference.engine.kernels.waiting import Waiting
    from services.kernels.emitter import Value

_SPINS = 200
_YIELDS = 500
"""With the looks before, some hundred microseconds: about what lies between two steps."""
_AWAKE, _ASLEEP = int64(0), int64(1)


def write_lead(module: Any, step: Any, calls: SystemCalls) -> None:
    """Adds `lead`: `(table)` begins a step, runs the first thread's share, and returns when all is done.

    Where the table says to stop, it only lets the others know.
    """
    emitter = Emitter(module, "lead", [ADDRESS])
    (table,) = emitter.arguments
    build = emitter.build
    generation = _counter(emitter, table, StepField.GENERATION)
    build.atomic_rmw("add", generation, int64(1), "seq_cst")
    states = emitter.load_address(table, 8 * StepField.STATES)
    threads = emitter.load(I64, table, 8 * StepField.THREADS)
    # All are counted before any is woken: one that wakes and finds work is no longer asleep, and may have read the byte
    # that was written for another.
    with emitter.loop(int64(1), threads, [int64(0)]) as thread:
        state = build.bitcast(line_of(emitter, states, thread.index), I64.as_pointer())
        before = build.atomic_rmw("xchg", state, _AWAKE, "seq_cst")
        asleep = build.zext(build.icmp_signed("==", before, _ASLEEP), I64)
        thread.next = [build.add(thread.carried[0], asleep)]
    with emitter.loop(int64(0), thread.carried[0]):
        _transfer(emitter, table, calls.write, StepField.PIPE_IN)
    with emitter.when(build.icmp_signed("==", emitter.load(I64, table, 8 * StepField.STOP), int64(0))):
        build.call(step, [table, int64(0)])
    emitter.finish()


def write_serve(module: Any, step: Any, calls: SystemCalls, waiting: Waiting) -> None:
    """Adds `serve`: `(table, thread)` runs one thread's share of each step, and returns when the table says to stop."""
    emitter = Emitter(module, "serve", [ADDRESS, I64])
    table, thread = emitter.arguments
    build, function = emitter.build, emitter.function
    generation = _counter(emitter, table, StepField.GENERATION)
    own = line_of(emitter, emitter.load_address(table, 8 * StepField.STATES), thread)
    state = build.bitcast(own, I64.as_pointer())
    before = build.block
    wait, look, more, tired, rest, offer, sleep, really, run, work, end = (
        function.append_basic_block() for _ in range(11)
    )
    build.branch(wait)

    build.position_at_end(wait)
    seen = build.phi(I64)
    seen.add_incoming(int64(0), before)
    build.branch(look)

    build.position_at_end(look)
    looks = build.phi(I64)
    looks.add_incoming(int64(0), wait)
    now = build.load_atomic(generation, "acquire", 8)
    build.cbranch(build.icmp_signed("!=", now, seen), run, more)

    build.position_at_end(more)
    following = build.add(looks, int64(1))
    waiting.pause(emitter)
    looks.add_incoming(following, more)
    build.cbranch(build.icmp_signed("<", following, int64(_SPINS)), look, tired)

    build.position_at_end(tired)
    build.cbranch(waiting.is_wanted(emitter, own), rest, offer)

    build.position_at_end(rest)
    waiting.count_sleep(emitter, own)
    build.branch(sleep)

    build.position_at_end(offer)
    looks.add_incoming(following, offer)
    waiting.offer(emitter, own)
    build.cbranch(build.icmp_signed("<", following, int64(_SPINS + _YIELDS)), look, sleep)

    build.position_at_end(sleep)
    build.atomic_rmw("xchg", state, _ASLEEP, "seq_cst")
    # Who leads either sees that this thread sleeps, or has begun a step that it sees here.
    begun = build.icmp_signed("!=", build.load_atomic(generation, "seq_cst", 8), seen)
    build.cbranch(begun, wait, really)

    build.position_at_end(really)
    _transfer(emitter, table, calls.read, StepField.PIPE_OUT)
    build.branch(wait)
    seen.add_incoming(seen, sleep)
    seen.add_incoming(seen, really)

    build.position_at_end(run)
    build.atomic_rmw("xchg", state, _AWAKE, "seq_cst")
    build.cbranch(build.icmp_signed("!=", emitter.load(I64, table, 8 * StepField.STOP), int64(0)), end, work)

    build.position_at_end(work)
    build.call(step, [table, thread])
    seen.add_incoming(now, work)
    build.branch(wait)

    build.position_at_end(end)
    emitter.finish()


def _counter(emitter: Emitter, table: Value, field: StepField) -> Value:
    return emitter.build.bitcast(emitter.load_address(table, 8 * field), I64.as_pointer())


def line_of(emitter: Emitter, states: Value, thread: Value) -> Value:
    """Returns the address of a thread's line of `StepField.STATES`."""
    return emitter.at(states, emitter.build.mul(thread, int64(LINE_BYTES)))


def _transfer(emitter: Emitter, table: Value, function: int, pipe: StepField) -> None:
    """Reads or writes one byte, as POSIX's `read` and `write` do."""
    byte = emitter.load_address(table, 8 * StepField.BYTE)
    descriptor = emitter.build.trunc(emitter.load(I64, table, 8 * pipe), I32)
    emitter.call_address(function, I64, [descriptor, byte, int64(1)])
