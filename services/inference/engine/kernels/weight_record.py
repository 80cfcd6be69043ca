"""How the weights of a tile of 16 outputs lie in memory, and how 64 of them are had as bytes.

For each group of 32 inputs there are codes. With 8 bits a weight is a byte: for every 4 inputs 64 of them. With fewer
the lower 4 of each come first: for every 8 inputs 64 bytes, in whose lower halves the first four inputs of each output
are, in their upper ones the other four. What is above 4 bits follows. With 5 bits that is 64 bytes, a bit for each of
the group's eight fours; with 6, for every 16 inputs 64 bytes, two bits for each of their four fours.

Beside the codes there are numbers in fp16, 16 at a time: scales; scales and zeros; or scales of the first half of the
inputs and of the second. Where there are two kinds, each group begins with its own. Where there is one, which does not
fill a cache line, those of all groups follow all codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.engine.block_forms import FORMS, Form, FormFacts
from services.kernels.emitter import I8, I16, I32, I64, LANES, LINE_BYTES, constant, int64, vector

if TYPE_CHECKING:
    from services.kernels.emitter import Emitter, Value
    from services.kernels.processor import Processor

FOUR = 4
"""Inputs whose products are added by one instruction."""
_WHOLE = LINE_BYTES
"""Bytes of a vector."""
_LOWER = 4 * _WHOLE
"""Bytes of the lower 4 bits."""


@dataclass(frozen=True, slots=True)
class WeightRecord:
    """Says where what of a group is, and reads it, while a function is written."""

    processor: Processor
    form: Form

    @property
    def facts(self) -> FormFacts:
        """What the form is like."""
        return FORMS[self.form]

    @property
    def size(self) -> int:
        """Bytes of a group."""
        return self.facts.tile_bytes

    def find(self, emitter: Emitter, tile: Value, groups: Value, group: Value) -> tuple[Value, Value]:
        """Returns where the codes of one of a tile's groups are, and its numbers."""
        build = emitter.build
        if self.facts.numbers == 2:
            numbers = emitter.at(tile, build.mul(group, int64(self.size)))
            return emitter.at(numbers, self._numbers), numbers
        codes = self.size - self._numbers
        numbers = emitter.at(tile, build.mul(groups, int64(codes)))
        return (
            emitter.at(tile, build.mul(group, int64(codes))),
            emitter.at(numbers, build.mul(group, int64(self._numbers))),
        )

    def floats(self, emitter: Emitter, numbers: Value, which: int) -> Value:
        """Returns 16 of a group's numbers, which are at an address: the first or the second 16."""
        return self.processor.from_fp16(emitter, emitter.load(vector(I16), numbers, 2 * LANES * which))

    def four(self, emitter: Emitter, codes: Value, number: int) -> Value:
        """Returns the 64 weights that one of a group's fours of inputs is multiplied with, from the group's codes."""
        above = self.facts.bits - 4
        if above == 4:
            return emitter.load(vector(I8, _WHOLE), codes, _WHOLE * number)
        build = emitter.build
        lower = emitter.load(vector(I8, _WHOLE), codes, _WHOLE * (number // 2))
        lower = build.and_(_shifted(emitter, lower, 4 * (number % 2)), constant(I8, 0x0F, _WHOLE))
        if not above:
            return lower
        line, place = divmod(number, 8 // above)
        upper = emitter.load(vector(I8, _WHOLE), codes, _LOWER + _WHOLE * line)
        upper = _shifted(emitter, upper, above * place - 4)
        return build.or_(build.and_(upper, constant(I8, ((1 << above) - 1) << 4, _WHOLE)), lower)

    def any_four(self, emitter: Emitter, codes: Value, number: Value) -> Value:
        """As `four`, of a number that is known when the function runs."""
        build = emitter.build

        def line(begin: int, which: Value) -> Value:
            place = build.add(int64(begin), build.mul(build.zext(which, I64), int64(_WHOLE)))
            return emitter.load(vector(I32), codes, place)

        def bits_of(packed: Value, which: Value, bits: int, mask: int) -> Value:
            place = build.mul(which, I32(bits))
            return build.and_(build.lshr(packed, emitter.splat(place)), constant(I32, mask))

        above = self.facts.bits - 4
        if above == 4:
            return build.bitcast(line(0, number), vector(I8, _WHOLE))
        whole = bits_of(line(0, build.lshr(number, I32(1))), build.and_(number, I32(1)), 4, 0x0F0F0F0F)
        if above:
            of_a_line = 8 // above
            packed = line(_LOWER, build.udiv(number, I32(of_a_line)))
            upper = bits_of(packed, build.urem(number, I32(of_a_line)), above, 0x01010101 * ((1 << above) - 1))
            whole = build.or_(whole, build.shl(upper, constant(I32, 4)))
        return build.bitcast(whole, vector(I8, _WHOLE))

    @property
    def _numbers(self) -> int:
        return 2 * LANES * self.facts.numbers


def _shifted(emitter: Emitter, weights: Value, places: int) -> Value:
    """Returns bytes shifted right, or left where `places` is negative; bits of their neighbours come in."""
    if places == 0:
        return weights
    build = emitter.build
    # As pairs of bytes: for shifts of bytes LLVM takes an instruction of the units that multiply.
    pairs = build.bitcast(weights, vector(I16, _WHOLE // 2))
    shift = constant(I16, abs(places), _WHOLE // 2)
    return build.bitcast(build.lshr(pairs, shift) if places > 0 else build.shl(pairs, shift), vector(I8, _WHOLE))
