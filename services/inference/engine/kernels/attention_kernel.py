"""Attention of new tokens of one sequence, for one head of keys and the query heads that share it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.attention_reading import AttendedRows, write_attend
from services.inference.engine.kernels.attention_shape import BLOCK, FOUR, GROUP, GROUP_BYTES, block_at
from services.inference.engine.kernels.byte_rounding import round_to_bytes
from services.inference.engine.kernels.head_rotation import HeadRotation
from services.kernels.emitter import (
    ADDRESS,
    F32,
    I8,
    I32,
    I64,
    LANES,
    Emitter,
    constant,
    int32,
    int64,
    vector,
)

if TYPE_CHECKING:
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.kernels.processor import Processor


class AttentionKernel:
    """Keeps tokens' keys and values, and reads for tokens once all are kept.

    Args:
        module: What the functions become a part of.
        shape: The model's.
        norm: The function that norms a row.
        processor: What it is written for.
    """

    def __init__(self, module: Any, shape: AttentionShape, norm: Any, processor: Processor) -> None:
        self.keep = _write_keep(Emitter(module, "keep", [ADDRESS] * 7 + [I64]), shape, norm)
        """`(key, value, cached keys, cached values, cosines, sines, key norm, position)`: key and value are floats, the
        key not yet rotated; the cached ones are one head's, from the first position on."""
        self._one = write_attend(module, shape, norm, processor, 1)
        rows = shape.rows_at_once
        self._many = self._one if rows == 1 else write_attend(module, shape, norm, processor, rows)

    def attend(self, emitter: Emitter, rows: AttendedRows, *, many: bool) -> None:
        """Writes the reading for `rows_at_once` tokens, or for one."""
        arguments = [getattr(rows, field.name) for field in fields(rows)]
        emitter.build.call(self._many if many else self._one, arguments)


def _write_keep(emitter: Emitter, shape: AttentionShape, norm: Any) -> Any:
    build = emitter.build
    key, value, cached_keys, cached_values, cosines, sines, key_norm, position = emitter.arguments
    key_block, value_block = (block_at(emitter, shape, cached, position) for cached in (cached_keys, cached_values))
    place = build.srem(position, int64(BLOCK))
    of_place = build.mul(place, int64(FOUR))
    # Another thread may be writing the neighbouring tokens: none of their bytes are touched.
    keys = emitter.at(key_block, of_place)
    rotated = HeadRotation(shape, norm, key_norm).rotated(emitter, key, cosines, sines)
    for group in range(shape.groups):
        integers, scale = round_to_bytes(emitter, rotated[2 * group : 2 * group + 2], signed=True)
        for half, part in enumerate(integers):
            # None is below zero where 128 is added.
            bytes_ = build.trunc(build.add(part, constant(I32, 128)), vector(I8))
            fours = build.bitcast(bytes_, vector(I32, LANES // FOUR))
            for number in range(LANES // FOUR):
                offset = GROUP_BYTES * group + FOUR * BLOCK * (LANES // FOUR * half + number)
                emitter.store(build.extract_element(fours, int32(number)), keys, offset)
        emitter.store(scale, keys, GROUP_BYTES * group + BLOCK * GROUP)
    own = [emitter.load(vector(F32), value, 4 * LANES * part) for part in range(shape.parts)]
    integers, scale = round_to_bytes(emitter, own, signed=True)
    # Before a token's own byte of its four: the fours before its own.
    four, byte = build.sdiv(place, int64(FOUR)), build.srem(place, int64(FOUR))
    target = emitter.at(value_block, build.add(build.mul(four, int64(FOUR * shape.head_size)), byte))
    for number, integer in enumerate(integers):
        bytes_ = build.trunc(integer, vector(I8))
        for lane in range(LANES):
            emitter.store(build.extract_element(bytes_, int32(lane)), target, FOUR * (LANES * number + lane))
    emitter.store(scale, emitter.at(value_block, of_place), BLOCK * shape.head_size)
    return emitter.finish()
