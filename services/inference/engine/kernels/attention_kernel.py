"""Attention of one new token, for one head of keys and the query heads that share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.emitter import (
    ADDRESS,
    F32,
    I16,
    I64,
    LANES,
    Emitter,
    constant,
    float32,
    int64,
    vector,
)
from services.inference.engine.kernels.row_kernels import exponential, hyperbolic_tangent

if TYPE_CHECKING:
    from services.inference.engine.kernels.emitter import Value

_LOWEST = -3.0e38
_STEP = 4 * LANES
_VECTORS_AT_ONCE = 16
"""Sums that are held in registers while values are read: as many as leave room for the values themselves."""


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What is fixed for a model."""

    heads: int
    kv_heads: int
    head_size: int
    """A multiple of 32."""
    scale: float
    cap: float | None
    """Products are squeezed to within ± this by `tanh`; None: not."""
    heads_normed: bool
    epsilon: float

    @property
    def shared_by(self) -> int:
        """Query heads to a head of keys."""
        return self.heads // self.kv_heads

    @property
    def parts(self) -> int:
        """Vectors to a head."""
        return self.head_size // LANES


class AttentionKernel:
    """Two functions: one keeps a token's key and value, the other reads for it once all tokens' are kept.

    Args:
        module: What they become a part of.
        shape: The model's.
        norm: The function that norms a row.
    """

    def __init__(self, module: Any, shape: AttentionShape, norm: Any) -> None:
        self._shape = shape
        self._norm = norm
        self._emitter = Emitter(module, "keep", [ADDRESS] * 7 + [I64])
        self.keep = self._write_keep()
        """`(key, value, cached keys, cached values, cosines, sines, key norm, position)`: key and value are floats, the
        key not yet rotated; the cached ones are one head's, from the first position on."""
        self._emitter = Emitter(module, "attend", [ADDRESS] * 6 + [I64] * 2 + [ADDRESS] * 3)
        self.attend = self._write_attend()
        """`(queries, cached keys, cached values, cosines, sines, query norm, first, position, out, own queries,
        scores)`: queries are floats, not yet rotated, of those heads that share the head of keys; `first` is the first
        token that is attended to, and `position` the token's own; the last two are room to work in, as
        `WorkspaceField` has it."""

    def _write_keep(self) -> Any:
        emitter, shape = self._emitter, self._shape
        key, value, cached_keys, cached_values, cosines, sines, key_norm, position = emitter.arguments
        self._rotation = cosines, sines
        self._rotate(key, key, key_norm, 1.0)
        place = emitter.build.mul(position, int64(2 * shape.head_size))
        for part in range(shape.parts):
            for source, cache in ((key, cached_keys), (value, cached_values)):
                rounded = emitter.to_bf16(emitter.load(vector(F32), source, _STEP * part))
                emitter.store(rounded, emitter.at(cache, place), 2 * LANES * part)
        return emitter.finish()

    def _write_attend(self) -> Any:
        emitter, shape = self._emitter, self._shape
        (
            queries, cached_keys, cached_values, cosines, sines, query_norm, first, position, out, own_queries, scores,
        ) = emitter.arguments  # fmt: skip
        build = emitter.build
        head_bytes = 4 * shape.head_size
        self._rotation = cosines, sines
        for head in range(shape.shared_by):
            source, target = emitter.at(queries, head_bytes * head), emitter.at(own_queries, head_bytes * head)
            self._rotate(source, target, query_norm, shape.scale)
        self._count = build.sub(build.add(position, int64(1)), first)
        padded = build.and_(build.add(self._count, int64(LANES - 1)), int64(-LANES))
        self._score_bytes = build.mul(padded, int64(4))
        skipped = build.mul(first, int64(2 * shape.head_size))
        rows = [emitter.at(scores, build.mul(self._score_bytes, int64(head))) for head in range(shape.shared_by)]
        for row in rows:
            # The end of the last vector counts for nothing.
            emitter.store(constant(F32, _LOWEST), row, build.sub(self._score_bytes, int64(_STEP)))
        self._score(own_queries, emitter.at(cached_keys, skipped), rows)
        for head, row in enumerate(rows):
            factor = self._softmax(row)
            for begin in range(0, shape.parts, _VECTORS_AT_ONCE):
                parts = range(begin, min(begin + _VECTORS_AT_ONCE, shape.parts))
                sums = self._read(row, emitter.at(cached_values, skipped), parts)
                for part, sum_ in zip(parts, sums, strict=True):
                    emitter.store(emitter.times(sum_, factor), out, head_bytes * head + _STEP * part)
        return emitter.finish()

    def _rotate(self, source: Value, target: Value, weight: Value, scale: float) -> None:
        """Writes a head, normed where the model norms heads, rotated by its position (Su et al. 2021) and scaled."""
        emitter, shape = self._emitter, self._shape
        if shape.heads_normed:
            size = int64(shape.head_size)
            emitter.build.call(self._norm, [source, weight, source, size, float32(shape.epsilon)])
        half = shape.parts // 2
        values = [emitter.load(vector(F32), source, _STEP * part) for part in range(shape.parts)]
        for part in range(shape.parts):
            cosine, sine = (emitter.load(vector(F32), table, _STEP * part) for table in self._rotation)
            turned = emitter.times(values[(part + half) % shape.parts], sine)
            rotated = emitter.plus_product(turned, values[part], cosine)
            emitter.store(emitter.times(rotated, constant(F32, scale)), target, _STEP * part)

    def _score(self, queries: Value, keys: Value, rows: list[Value]) -> None:
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        with emitter.loop(int64(0), self._count) as token:
            key = emitter.at(keys, build.mul(token.index, int64(2 * shape.head_size)))
            parts = [emitter.from_bf16(emitter.load(vector(I16), key, 2 * LANES * part)) for part in range(shape.parts)]
            for head, row in enumerate(rows):
                sums = constant(F32, 0.0)
                for number, part in enumerate(parts):
                    query = emitter.load(vector(F32), queries, 4 * shape.head_size * head + _STEP * number)
                    sums = emitter.plus_product(sums, query, part)
                emitter.store(emitter.reduce(sums, emitter.plus), row, build.mul(token.index, int64(4)))
        if shape.cap is not None:
            for row in rows:
                self._cap(row, shape.cap)

    def _cap(self, row: Value, cap: float) -> None:
        emitter = self._emitter
        with emitter.loop(int64(0), self._score_bytes, step=_STEP) as part:
            values = emitter.load(vector(F32), row, part.index)
            capped = hyperbolic_tangent(emitter, emitter.times(values, constant(F32, 1 / cap)))
            # What counts for nothing goes on to.
            counts = emitter.build.fcmp_ordered(">", values, constant(F32, _LOWEST / 2))
            emitter.store(
                emitter.build.select(counts, emitter.times(capped, constant(F32, cap)), values), row, part.index
            )

    def _softmax(self, row: Value) -> Value:
        """Makes scores exponentials of them, and returns what makes their sum one."""
        emitter = self._emitter
        with emitter.loop(int64(0), self._score_bytes, [constant(F32, _LOWEST)], step=_STEP) as part:
            part.next = [emitter.greater(part.carried[0], emitter.load(vector(F32), row, part.index))]
        largest = emitter.splat(emitter.reduce(part.carried[0], emitter.greater))
        with emitter.loop(int64(0), self._score_bytes, [constant(F32, 0.0)], step=_STEP) as part:
            below = emitter.build.fsub(emitter.load(vector(F32), row, part.index), largest)
            power = exponential(emitter, below)
            emitter.store(power, row, part.index)
            part.next = [emitter.plus(part.carried[0], power)]
        return emitter.splat(emitter.build.fdiv(float32(1.0), emitter.reduce(part.carried[0], emitter.plus)))

    def _read(self, row: Value, values: Value, parts: range) -> list[Value]:
        """Returns the sum of values, each times its score, for some of a head's vectors."""
        emitter = self._emitter
        build = emitter.build
        with emitter.loop(int64(0), self._count, [constant(F32, 0.0)] * len(parts)) as token:
            value = emitter.at(values, build.mul(token.index, int64(2 * self._shape.head_size)))
            weight = emitter.splat(emitter.load(F32, row, build.mul(token.index, int64(4))))
            token.next = [
                emitter.plus_product(
                    sum_, weight, emitter.from_bf16(emitter.load(vector(I16), value, 2 * LANES * part))
                )
                for sum_, part in zip(token.carried, parts, strict=True)
            ]
        return token.carried
