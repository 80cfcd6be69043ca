"""Attention of new tokens of one sequence, for one head of keys and the query heads that share it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.attention_reading import AttendedRows, write_attend
from services.inference.engine.kernels.attention_shape import KEY_BLOCK, PAIR
from services.inference.engine.kernels.emitter import (
    ADDRESS,
    F32,
    I32,
    I64,
    LANES,
    Emitter,
    int32,
    int64,
    vector,
)
from services.inference.engine.kernels.head_rotation import HeadRotation

if TYPE_CHECKING:
    from services.inference.engine.kernels.attention_shape import AttentionShape
    from services.inference.engine.kernels.emitter import Value
    from services.inference.engine.kernels.processor import Processor


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
        self._many = write_attend(module, shape, norm, processor, shape.rows_at_once)

    def attend(self, emitter: Emitter, rows: AttendedRows, *, many: bool) -> None:
        """Writes the reading for `rows_at_once` tokens, or for one."""
        arguments = [getattr(rows, field.name) for field in fields(rows)]
        emitter.build.call(self._many if many else self._one, arguments)


def _write_keep(emitter: Emitter, shape: AttentionShape, norm: Any) -> Any:
    build = emitter.build
    key, value, cached_keys, cached_values, cosines, sines, key_norm, position = emitter.arguments
    rotated = HeadRotation(shape, norm, key_norm).rotated(emitter, key, cosines, sines)
    key_place = _place(emitter, cached_keys, shape, position, tokens=KEY_BLOCK, step=PAIR)
    value_place = _place(emitter, cached_values, shape, position, tokens=2, step=PAIR // 2)
    # Another thread may be writing the neighbouring tokens: none of their bytes are touched.
    for part in range(shape.parts):
        pairs = build.bitcast(emitter.to_bf16(rotated[part]), vector(I32, LANES // 2))
        for number in range(LANES // 2):
            place = PAIR * KEY_BLOCK * (LANES // 2 * part + number)
            emitter.store(build.extract_element(pairs, int32(number)), key_place, place)
        values = emitter.to_bf16(emitter.load(vector(F32), value, 4 * LANES * part))
        for number in range(LANES):
            emitter.store(build.extract_element(values, int32(number)), value_place, PAIR * (LANES * part + number))
    return emitter.finish()


def _place(emitter: Emitter, cached: Value, shape: AttentionShape, position: Value, *, tokens: int, step: int) -> Value:
    """Returns where a position's first number lies, where so many tokens' lie together, `step` bytes apart."""
    build = emitter.build
    first = build.and_(position, int64(-tokens))
    before = build.mul(first, int64(2 * shape.head_size))
    return emitter.at(cached, build.add(before, build.mul(build.sub(position, first), int64(step))))
