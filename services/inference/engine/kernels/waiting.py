"""How a thread of a step waits for another, whose processor other programs may want.

It looks for about a microsecond, and offers its processor between further looks. That costs nothing where nobody wants
it. Where somebody does, it is gone for a few milliseconds, and a step waits some hundred times: on two busy processors
one took 100 times as long. So where an offer was taken up, a thread looks a while longer instead, and then sleeps until
it is woken: sleepers come first when they wake. After some sleeps it tries anew whether its processor is still wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.kernels.emitter import ADDRESS, I32, I64, VOID, Emitter, int32, int64

if TYPE_CHECKING:
    from services.inference.engine.kernels.system_calls import SystemCalls
    from services.kernels.emitter import Value

WANTED = 8
"""Place in a thread's line: how often more it sleeps rather than offers its processor."""
_SLEEPS = 100
_LOOKS = 300
"""Before it sleeps, some ten microseconds: to sleep and be woken takes longer."""
_TAKEN_NANOSECONDS = 1_000_000
"""An offer that lasts so long was taken up by one that computes, not by one that is soon done."""
_WAIT, _WAKE = 128, 129
"""Linux's FUTEX_WAIT and FUTEX_WAKE among threads of one process."""
_MONOTONIC = 1
"""Linux's CLOCK_MONOTONIC."""
_ALL = 2**31 - 1


class Waiting:
    """Adds what it takes to a module.

    Args:
        module: Whose functions wait.
        calls: What the system has.
        x86: Whether the processor is one of these.
    """

    def __init__(self, module: Any, calls: SystemCalls, *, x86: bool) -> None:
        self._calls = calls
        self._x86 = x86
        self._offer = self._write_offer(module)

    def pause(self, emitter: Emitter) -> None:
        """Writes what tells the processor that a thread looks again and again."""
        if self._x86:
            emitter.call_intrinsic("llvm.x86.sse2.pause", VOID, [])

    def is_wanted(self, emitter: Emitter, own: Value) -> Value:
        """Writes and returns whether the processor of a thread, whose line is given, was lately wanted by others."""
        return emitter.build.icmp_signed(">", emitter.load(I64, own, WANTED), int64(0))

    def offer(self, emitter: Emitter, own: Value) -> None:
        """Writes that a thread, whose line is given, offers its processor, and notes whether it was taken up."""
        emitter.build.call(self._offer, [own])

    def may_sleep(self, emitter: Emitter, looks: Value) -> Value:
        """Writes and returns whether it has looked so often that it is better to sleep."""
        return emitter.build.icmp_signed(">=", looks, int64(_LOOKS))

    def count_sleep(self, emitter: Emitter, own: Value) -> None:
        """Writes that a thread, whose line is given, sleeps rather than offers its processor, once less from now on."""
        left = emitter.build.sub(emitter.load(I64, own, WANTED), int64(1))
        emitter.store(left, own, WANTED)

    def sleep(self, emitter: Emitter, own: Value, word: Value, seen: Value) -> None:
        """Writes that a thread sleeps where the 64-bit integer at an address is the one it has seen.

        Args:
            emitter: The function that is written.
            own: The thread's line.
            word: The address.
            seen: The integer. Where another is there by now, the thread goes on at once.
        """
        self.count_sleep(emitter, own)
        self._futex(emitter, word, _WAIT, emitter.build.and_(seen, int64(2**32 - 1)))

    def wake(self, emitter: Emitter, word: Value) -> None:
        """Writes that all who sleep for an address are woken."""
        self._futex(emitter, word, _WAKE, int64(_ALL))

    def _futex(self, emitter: Emitter, word: Value, what: int, number: Value) -> None:
        futex = self._calls.futex
        if futex is None:
            return  # never reached: no processor is noted as wanted
        # All processors that have a known number have the lower half of an integer first.
        forever = ir.Constant(ADDRESS, None)
        emitter.call_address(futex.syscall, I64, [int64(futex.number), word, int64(what), number, forever])

    def _write_offer(self, module: Any) -> Any:
        emitter = Emitter(module, "offer", [ADDRESS])
        (own,) = emitter.arguments
        build, futex = emitter.build, self._calls.futex
        if futex is None:
            emitter.call_address(self._calls.give_way, VOID, [])
            return emitter.finish()
        time = build.bitcast(build.alloca(I64, int64(2)), ADDRESS)

        def now() -> Value:
            emitter.call_address(futex.clock_gettime, I32, [int32(_MONOTONIC), time])
            return build.add(build.mul(emitter.load(I64, time), int64(10**9)), emitter.load(I64, time, 8))

        before = now()
        emitter.call_address(self._calls.give_way, VOID, [])
        with emitter.when(build.icmp_signed(">", build.sub(now(), before), int64(_TAKEN_NANOSECONDS))):
            emitter.store(int64(_SLEEPS), own, WANTED)
        return emitter.finish()
