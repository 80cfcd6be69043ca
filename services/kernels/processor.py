"""What processors do in different ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llvmlite import ir

from services.kernels.emitter import F16, F32, I8, I16, I32, LANES, constant, int32, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.kernels.emitter import Emitter, Value

_BYTES = 4 * LANES
_AS_SET = 4
"""Results are rounded as the processor is set to: to the nearest."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What a processor has, and how it does best what the linears are made of."""

    features: frozenset[str]
    """As LLVM names them."""
    x86: bool

    @property
    def adds_four_products(self) -> bool:
        """Whether one instruction adds four products of bytes to each of 16 sums."""
        return {"avx512vnni", "avx512bw"} <= self.features

    @property
    def multiplies_by_powers(self) -> bool:
        """Whether there are `fraction` and `times_power`."""
        return {"avx512f", "avx512dq"} <= self.features

    def fraction(self, emitter: Emitter, values: Value) -> Value:
        """Returns of a vector of floats what each is above the whole number below it; where `multiplies_by_powers`."""
        below = int32(0b1001)  # rounded down, and silently
        arguments = [values, below, constant(F32, 0.0), ir.Constant(I16, -1), int32(_AS_SET)]
        return emitter.call_intrinsic("llvm.x86.avx512.mask.reduce.ps.512", vector(F32), arguments)

    def times_power(self, emitter: Emitter, values: Value, powers: Value) -> Value:
        """Returns `v * 2**n`, where `n` is the whole number below a float; where `multiplies_by_powers`."""
        arguments = [values, powers, constant(F32, 0.0), ir.Constant(I16, -1), int32(_AS_SET)]
        return emitter.call_intrinsic("llvm.x86.avx512.mask.scalef.ps.512", vector(F32), arguments)

    def plus_products(self, emitter: Emitter, sums: Value, unsigned: Value, signed: Value, bits: int) -> Value:
        """Returns 16 sums, four products of bytes added to each. All processors give the same integers.

        Args:
            emitter: The function that is written.
            sums: 16 32-bit integers.
            unsigned: 64 bytes without a sign.
            signed: 64 bytes with one, within ± 127.
            bits: How many bits of `unsigned` can be set, 4 to 8.
        """
        if self.adds_four_products:
            arguments = [sums, unsigned, signed]
            return emitter.call_intrinsic("llvm.x86.avx512.vpdpbusd.512", vector(I32), arguments)
        if "avxvnni" in self.features:
            return _by_halves(
                emitter,
                [sums, unsigned, signed],
                lambda parts: emitter.call_intrinsic("llvm.x86.avx512.vpdpbusd.256", vector(I32, 8), parts),
            )
        if "avx2" in self.features:
            if bits < 8:
                return _add_by_avx2(emitter, sums, unsigned, signed)
            # Products of whole bytes could overflow the 16 bits that this processor adds them in.
            build = emitter.build
            low = build.and_(unsigned, constant(I8, 15, _BYTES))
            high = build.lshr(unsigned, constant(I8, 4, _BYTES))
            sixteenths = _add_by_avx2(emitter, constant(I32, 0), high, signed)
            return _add_by_avx2(emitter, build.add(sums, build.shl(sixteenths, constant(I32, 4))), low, signed)
        return _add_anywhere(emitter, sums, unsigned, signed)

    def from_fp16(self, emitter: Emitter, values: Value) -> Value:
        """Widens a vector of 16-bit integers that stand for finite fp16 numbers."""
        build = emitter.build
        if not self.x86 or "f16c" in self.features:
            return build.fpext(build.bitcast(values, vector(F16)), vector(F32))
        wide = build.zext(values, vector(I32))
        sign = build.shl(build.and_(wide, constant(I32, 0x8000)), constant(I32, 16))
        rest = build.shl(build.and_(wide, constant(I32, 0x7FFF)), constant(I32, 13))
        # The exponent of fp16 counts from 15, that of fp32 from 127; the product rights it, for subnormals too.
        size = emitter.times(build.bitcast(rest, vector(F32)), constant(F32, 2.0**112))
        return build.bitcast(build.or_(build.bitcast(size, vector(I32)), sign), vector(F32))


def _by_halves(emitter: Emitter, vectors: list[Value], combine: Callable[[list[Value]], Value]) -> Value:
    """Returns 16 integers: what vectors' first halves make, then what their second ones make."""
    build = emitter.build
    made = []
    for half in (0, 1):
        parts = []
        for whole in vectors:
            lanes = whole.type.count // 2
            places = ir.Constant(vector(I32, lanes), list(range(half * lanes, (half + 1) * lanes)))
            parts.append(build.shuffle_vector(whole, whole, places))
        made.append(combine(parts))
    return build.shuffle_vector(*made, ir.Constant(vector(I32), list(range(LANES))))


def _add_by_avx2(emitter: Emitter, sums: Value, unsigned: Value, signed: Value) -> Value:
    def products(parts: list[Value]) -> Value:
        pairs = emitter.call_intrinsic("llvm.x86.avx2.pmadd.ub.sw", vector(I16, 16), parts)
        return emitter.call_intrinsic("llvm.x86.avx2.pmadd.wd", vector(I32, 8), [pairs, constant(I16, 1, 16)])

    return emitter.build.add(sums, _by_halves(emitter, [unsigned, signed], products))


def _add_anywhere(emitter: Emitter, sums: Value, unsigned: Value, signed: Value) -> Value:
    build = emitter.build
    wide = vector(I32, _BYTES)
    products = build.mul(build.zext(unsigned, wide), build.sext(signed, wide))
    for place in range(4):
        lanes = ir.Constant(vector(I32), [4 * lane + place for lane in range(LANES)])
        sums = build.add(sums, build.shuffle_vector(products, products, lanes))
    return sums
