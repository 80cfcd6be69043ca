"""Writes a function of scoring, which is given tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import ADDRESS, F32, F64, I8, I64, Emitter, int64
from services.memory.scoring.tables import IndexField, RoomField

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kernels.emitter import Value
    from services.kernels.table import Place


class ScoringFunction:
    """Reads and writes what the tables name.

    Args:
        module: What the function becomes a part of.
        name: Its name.
        tables: What tables it is given.
    """

    def __init__(self, module: Any, name: str, tables: Sequence[type[Place]] = (IndexField, RoomField)) -> None:
        self.emitter = Emitter(module, name, [ADDRESS] * len(tables))
        self.build = self.emitter.build
        self.tables: dict[type[Place], Value] = dict(zip(tables, self.emitter.arguments, strict=True))
        # Read once, and before any branch; what a function does not need LLVM leaves out.
        self._numbers = {
            kind: [self.emitter.load(I64, table, 8 * field) for field in kind] for kind, table in self.tables.items()
        }
        self._addresses = {
            kind: [self.build.inttoptr(number, ADDRESS) for number in numbers]
            for kind, numbers in self._numbers.items()
        }

    def number(self, field: Place) -> Value:
        """Returns what a table holds itself, as a 64-bit integer."""
        return self._numbers[type(field)][field]

    def address(self, field: Place) -> Value:
        """Returns where an array is."""
        return self._addresses[type(field)][field]

    def stand_in(self, array: Place, other: Place) -> None:
        """Takes another array for one that has no address."""
        has = self.build.icmp_signed("!=", self.number(array), int64(0))
        addresses = self._addresses[type(array)]
        addresses[array] = self.build.select(has, addresses[array], self.address(other))

    def integer(self, array: Place, place: Value) -> Value:
        """Returns a 64-bit integer of an array."""
        return self.emitter.load(I64, self.address(array), self.build.mul(place, int64(8)))

    def float(self, array: Place, place: Value) -> Value:
        """Returns a float of an array."""
        return self.emitter.load(F32, self.address(array), self.build.mul(place, int64(4)))

    def double(self, array: Place, place: Value) -> Value:
        """Returns a float of 64 bits of an array."""
        return self.emitter.load(F64, self.address(array), self.build.mul(place, int64(8)))

    def is_set(self, array: Place, place: Value) -> Value:
        """Returns whether a byte of an array is."""
        return self.build.icmp_unsigned("!=", self.emitter.load(I8, self.address(array), place), I8(0))

    def put(self, value: Value, array: Place, place: Value) -> None:
        """Writes a value into an array of such."""
        size = {I8: 1, F32: 4, I64: 8, F64: 8}[value.type]
        self.emitter.store(value, self.address(array), self.build.mul(place, int64(size)))

    def rarity(self, count: Value, having: Value) -> Value:
        """Returns how rare a term is that so many of all messages have, as a float of 64 bits."""
        build = self.build
        all_, some = (build.sitofp(number, F64) for number in (count, having))
        share = build.fdiv(build.fadd(build.fsub(all_, some), F64(0.5)), build.fadd(some, F64(0.5)))
        return self.emitter.call_intrinsic("llvm.log.f64", F64, [build.fadd(share, F64(1.0))])

    def call(self, function: Any, *arguments: Value) -> None:
        """Calls a function of the same module: with these tables, or with other arguments."""
        self.build.call(function, arguments or self.emitter.arguments)

    def finish(self) -> Any:
        """Ends the function and returns it."""
        return self.emitter.finish()
