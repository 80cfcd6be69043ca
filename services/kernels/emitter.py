"""Writes one function of LLVM's intermediate code, in vectors of 16 lanes.

LLVM splits the vectors where a processor's are shorter. Buffers are addresses of bytes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Value = Any
"""A value of the function that is being written. The library declares no types."""

LANES = 16
LINE_BYTES = 64
"""Of a cache line."""

VOID = ir.VoidType()
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
ADDRESS = I8.as_pointer()

_CONTRACT = ("contract",)
"""Lets a product and a sum become one instruction, and nothing else: sums keep their order."""


def vector(lane: Any, lanes: int = LANES) -> Any:
    """Returns the type of a vector."""
    return ir.VectorType(lane, lanes)


class Loop:
    """A loop under way: its index, and the values it hands from one round to the next."""

    def __init__(self, index: Value, carried: list[Value]) -> None:
        self.index = index
        self.carried = carried
        """In the loop: as the round found them. After it: as the last round left them."""
        self.next: Sequence[Value] = ()
        """What the next round finds; to be set before the round ends."""


class Emitter:
    """Writes a function that returns nothing.

    Args:
        module: What the function becomes a part of.
        name: Its name.
        arguments: Types of its arguments.
    """

    def __init__(self, module: Any, name: str, arguments: Sequence[Any]) -> None:
        self.module = module
        self.function = ir.Function(module, ir.FunctionType(VOID, list(arguments)), name)
        self.arguments: list[Value] = list(self.function.args)
        self.build = ir.IRBuilder(self.function.append_basic_block())

    def finish(self) -> Any:
        """Ends the function and returns it."""
        self.build.ret_void()
        return self.function

    # Control

    @contextmanager
    def loop(self, begin: Value, end: Value, carried: Sequence[Value] = (), step: int = 1) -> Iterator[Loop]:
        """Writes a loop over `range(begin, end, step)`, all of them 64-bit integers, around what the block writes."""
        build = self.build
        before = build.block
        head, body, after = (self.function.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        index = build.phi(I64)
        index.add_incoming(begin, before)
        phis = []
        for value in carried:
            phi = build.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        build.cbranch(build.icmp_signed("<", index, end), body, after)
        build.position_at_end(body)
        loop = Loop(index, phis)
        yield loop
        index.add_incoming(build.add(index, int64(step)), build.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, build.block)
        build.branch(head)
        build.position_at_end(after)

    @contextmanager
    def share(self, taken: Value, count: Value, size: Value) -> Iterator[tuple[Value, Value]]:
        """Writes a loop that takes on parts of `range(count)` until none is left: first, and one after the last.

        Threads that run the same loop share the work, each taking as much as it comes to.

        Args:
            taken: Address of a 64-bit integer that all of them count up; 0 at first.
            count: How much there is to do.
            size: Of a part.
        """
        build = self.build
        counter = build.bitcast(taken, I64.as_pointer())
        head, body, after = (self.function.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        first = build.atomic_rmw("add", counter, size, "monotonic")
        build.cbranch(build.icmp_signed("<", first, count), body, after)
        build.position_at_end(body)
        end = build.add(first, size)
        yield first, build.select(build.icmp_signed("<", end, count), end, count)
        build.branch(head)
        build.position_at_end(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Writes a branch that is taken where a condition holds."""
        with self.build.if_then(condition):
            yield

    def values_if(self, condition: Value, write: Callable[[], Sequence[Value]], others: Sequence[Value]) -> list[Value]:
        """Writes a branch that is taken where a condition holds; returns what it returns, and others where it does not.

        Args:
            condition: A bit.
            write: Writes the branch, and returns values.
            others: As many, of the same types.
        """
        build = self.build
        before = build.block
        with build.if_then(condition):
            values = write()
            branch = build.block
        merged = []
        for value, other in zip(values, others, strict=True):
            phi = build.phi(value.type)
            phi.add_incoming(value, branch)
            phi.add_incoming(other, before)
            merged.append(phi)
        return merged

    # Memory

    def at(self, address: Value, offset: Value) -> Value:
        """Returns an address so many bytes further on."""
        return self.build.gep(address, [offset if isinstance(offset, ir.Value) else int64(offset)])

    def load(self, kind: Any, address: Value, offset: Value = 0) -> Value:
        """Reads a value, which may lie at any address."""
        return self.build.load(self.build.bitcast(self.at(address, offset), kind.as_pointer()), align=1)

    def store(self, value: Value, address: Value, offset: Value = 0) -> None:
        """Writes a value, which may lie at any address."""
        self.build.store(value, self.build.bitcast(self.at(address, offset), value.type.as_pointer()), align=1)

    def fetch(self, address: Value, size: int) -> None:
        """Has the cache lines of so many bytes brought near without waiting for them; the address may be any."""
        # To read, into the second cache, data: the first is full of what is at work.
        how = [int32(0), int32(2), int32(1)]
        for line in range(0, size, LINE_BYTES):
            self.call_intrinsic("llvm.prefetch.p0i8", VOID, [self.at(address, line), *how])

    def load_address(self, address: Value, offset: Value = 0) -> Value:
        """Reads an address."""
        return self.build.inttoptr(self.load(I64, address, offset), ADDRESS)

    def splat_four(self, address: Value, offset: Value = 0) -> Value:
        """Returns 64 bytes: the four at an address, over and over."""
        return self.build.bitcast(self.splat(self.load(I32, address, offset)), vector(I8, 4 * LANES))

    # Arithmetic

    def splat(self, value: Value) -> Value:
        """Returns a vector of one value."""
        kind = vector(value.type)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.build.insert_element(undefined, value, int32(0))
        return self.build.shuffle_vector(first, undefined, ir.Constant(vector(I32), [0] * LANES))

    def times(self, left: Value, right: Value) -> Value:
        """Floats: a product."""
        return self.build.fmul(left, right, flags=_CONTRACT)

    def plus(self, left: Value, right: Value) -> Value:
        """Floats: a sum."""
        return self.build.fadd(left, right, flags=_CONTRACT)

    def plus_product(self, sum_: Value, left: Value, right: Value) -> Value:
        """Floats: `sum_ + left * right`, rounded once where the processor can."""
        return self.plus(sum_, self.times(left, right))

    def nearest(self, values: Value, factor: Value) -> Value:
        """Returns the integers nearest to a vector of floats times another, each product less than 4,194,304 in size.

        Beside `1.5 * 2**23` a float's last bit counts ones: the sum's lower bits are the integer.
        """
        build = self.build
        shifted = self.plus_product(constant(F32, 12_582_912.0), values, factor)
        return build.sub(build.bitcast(shifted, vector(I32)), constant(I32, 0x4B400000))

    def greater(self, left: Value, right: Value) -> Value:
        """Floats: the greater of two."""
        return self.build.select(self.build.fcmp_ordered(">", left, right), left, right)

    def smaller(self, left: Value, right: Value) -> Value:
        """Floats: the smaller of two."""
        return self.build.select(self.build.fcmp_ordered("<", left, right), left, right)

    def least(self, left: Value, right: Value) -> Value:
        """Integers with a sign: the smaller of two."""
        return self.build.select(self.build.icmp_signed("<", left, right), left, right)

    def most(self, left: Value, right: Value) -> Value:
        """Integers with a sign: the greater of two."""
        return self.build.select(self.build.icmp_signed(">", left, right), left, right)

    def call_intrinsic(self, name: str, result: Any, arguments: Sequence[Value]) -> Value:
        """Calls one of LLVM's own functions."""
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(result, [a.type for a in arguments]), name)
        return self.build.call(function, list(arguments))

    def call_address(self, address: int, result: Any, arguments: Sequence[Value]) -> Value:
        """Calls a function of the system's, which is at an address."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.build.call(self.build.inttoptr(int64(address), kind.as_pointer()), list(arguments))

    def unary(self, name: str, value: Value) -> Value:
        """Calls a function such as `rint` on a float or a vector of 16."""
        suffix = "v16f32" if isinstance(value.type, ir.VectorType) else "f32"
        return self.call_intrinsic(f"llvm.{name}.{suffix}", value.type, [value])

    def reduce(self, values: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """Combines a vector's lanes, always in the same order."""
        kind = values.type
        half = LANES // 2
        while half:
            lanes = [n + half if n < half else n for n in range(LANES)]
            moved = self.build.shuffle_vector(values, ir.Constant(kind, ir.Undefined), ir.Constant(vector(I32), lanes))
            values = combine(values, moved)
            half //= 2
        return self.build.extract_element(values, int32(0))

    def reduce_four(self, four: Sequence[Value], combine: Callable[[Value, Value], Value]) -> Value:
        """Combines the lanes of each of four vectors, always in the same order; each has a quarter of the result."""

        def halved(one: Value, other: Value, apart: int) -> Value:
            lanes = [n for n in range(2 * LANES) if not n & apart]
            return self._combined(one, other, lanes, [n + apart for n in lanes], combine)

        # Halves of vectors are combined, then quarters, then lanes within a quarter.
        result = halved(halved(four[0], four[1], LANES // 2), halved(four[2], four[3], LANES // 2), LANES // 4)
        for apart in (LANES // 8, LANES // 16):
            others = [n ^ apart for n in range(LANES)]
            result = self._combined(result, result, list(range(LANES)), others, combine)
        return result

    def _combined(
        self, one: Value, other: Value, lanes: list[int], others: list[int], combine: Callable[[Value, Value], Value]
    ) -> Value:
        """Combines some lanes of two vectors with as many others of them."""
        chosen = (ir.Constant(vector(I32), which) for which in (lanes, others))
        return combine(*(self.build.shuffle_vector(one, other, which) for which in chosen))

    def spread(self, quarters: Value, number: int) -> Value:
        """Returns a vector of what a quarter of a vector holds."""
        lanes = ir.Constant(vector(I32), [number * LANES // 4] * LANES)
        return self.build.shuffle_vector(quarters, ir.Constant(quarters.type, ir.Undefined), lanes)


def int64(number: int) -> Value:
    """Returns a constant."""
    return ir.Constant(I64, number)


def int32(number: int) -> Value:
    """Returns a constant."""
    return ir.Constant(I32, number)


def float32(number: float) -> Value:
    """Returns a constant."""
    return ir.Constant(F32, number)


def constant(lane: Any, number: float, lanes: int = LANES) -> Value:
    """Returns a vector of one constant."""
    return ir.Constant(vector(lane, lanes), [number] * lanes)
