"""Attention of new tokens of one sequence, for one head of keys and the query heads that share it.

Keys are kept so that those of 16 tokens are read at once: for each number of a head, 16 tokens' lie together. Values
lie token by token. Scores are held whole, so a token's result is the same in whatever company it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.inference.engine.kernels.emitter import (
    ADDRESS,
    F32,
    I16,
    I32,
    I64,
    LANES,
    Emitter,
    constant,
    float32,
    int32,
    int64,
    vector,
)
from services.inference.engine.kernels.row_kernels import exponential, hyperbolic_tangent

if TYPE_CHECKING:
    from services.inference.engine.kernels.emitter import Value

_LOWEST = -3.0e38
_STEP = 4 * LANES
_SCORES_AT_ONCE = 12
"""Queries that are held against a vector of keys at once: their sums are in registers."""
_SUMS_AT_ONCE = 24
"""Vectors of results that are in registers while values are read: as many as leave room for the values themselves."""
_UNROLLED = 4
KEY_BLOCK = LANES
"""Tokens whose keys lie together."""


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

    @property
    def rows_at_once(self) -> int:
        """Tokens of one sequence that are computed together, where there are so many."""
        return max(1, _SCORES_AT_ONCE // self.shared_by)


@dataclass(frozen=True, slots=True)
class AttendedRows:
    """What tokens of one sequence that follow one another have to do with one head of keys: addresses and numbers."""

    queries: Value
    """Floats, not yet rotated, of the heads that share the head of keys."""
    query_bytes: Value
    """From one token's to the next."""
    keys: Value
    values: Value
    cosines: Value
    sines: Value
    """One token's follow the other's."""
    query_norm: Value
    window: Value
    """Tokens that are attended to, a token's own among them."""
    position: Value
    """The first one's."""
    out: Value
    out_bytes: Value
    """From one token's to the next."""
    own_queries: Value
    scores: Value
    """Room to work in, as `WorkspaceField` has it."""


class AttentionKernel:
    """Keeps tokens' keys and values, and reads for tokens once all are kept.

    Args:
        module: What the functions become a part of.
        shape: The model's.
        norm: The function that norms a row.
    """

    def __init__(self, module: Any, shape: AttentionShape, norm: Any) -> None:
        self._module = module
        self._shape = shape
        self._norm = norm
        self.keep = self._write_keep(Emitter(module, "keep", [ADDRESS] * 7 + [I64]))
        """`(key, value, cached keys, cached values, cosines, sines, key norm, position)`: key and value are floats, the
        key not yet rotated; the cached ones are one head's, from the first position on."""
        self._one = _AttendWriter(module, shape, norm, 1).function
        self._many = _AttendWriter(module, shape, norm, shape.rows_at_once).function

    def attend(self, emitter: Emitter, rows: AttendedRows, *, many: bool) -> None:
        """Writes the reading for `rows_at_once` tokens, or for one."""
        arguments = [getattr(rows, field.name) for field in fields(rows)]
        emitter.build.call(self._many if many else self._one, arguments)

    def _write_keep(self, emitter: Emitter) -> Any:
        shape = self._shape
        build = emitter.build
        key, value, cached_keys, cached_values, cosines, sines, key_norm, position = emitter.arguments
        _rotate(emitter, shape, _Norm(self._norm, key_norm), places=(key, key), rotation=(cosines, sines))
        place = emitter.at(cached_values, build.mul(position, int64(2 * shape.head_size)))
        block = build.and_(position, int64(-KEY_BLOCK))
        lane = build.sub(position, block)
        of_block = build.mul(block, int64(2 * shape.head_size))
        column = emitter.at(cached_keys, build.add(of_block, build.mul(lane, int64(2))))
        for part in range(shape.parts):
            emitter.store(emitter.to_bf16(emitter.load(vector(F32), value, _STEP * part)), place, 2 * LANES * part)
            rounded = emitter.to_bf16(emitter.load(vector(F32), key, _STEP * part))
            for number in range(LANES):
                one = build.extract_element(rounded, int32(number))
                emitter.store(one, column, 2 * KEY_BLOCK * (LANES * part + number))
        return emitter.finish()


@dataclass(frozen=True, slots=True)
class _Norm:
    """How a model norms heads, where it does."""

    function: Any
    weight: Value


def _rotate(
    emitter: Emitter,
    shape: AttentionShape,
    norm: _Norm,
    *,
    places: tuple[Value, Value],
    rotation: tuple[Value, Value],
    scale: float = 1.0,
) -> None:
    """Writes a head, normed where the model norms heads, rotated by its position (Su et al. 2021) and scaled."""
    source, target = places
    if shape.heads_normed:
        size = int64(shape.head_size)
        emitter.build.call(norm.function, [source, norm.weight, source, size, float32(shape.epsilon)])
    half = shape.parts // 2
    values = [emitter.load(vector(F32), source, _STEP * part) for part in range(shape.parts)]
    for part in range(shape.parts):
        cosine, sine = (emitter.load(vector(F32), table, _STEP * part) for table in rotation)
        turned = emitter.times(values[(part + half) % shape.parts], sine)
        rotated = emitter.plus_product(turned, values[part], cosine)
        emitter.store(emitter.times(rotated, constant(F32, scale)), target, _STEP * part)


class _AttendWriter:
    """Writes the function that reads for so many tokens that follow one another: arguments as `AttendedRows`."""

    def __init__(self, module: Any, shape: AttentionShape, norm: Any, rows: int) -> None:
        kinds = {"query_bytes", "window", "position", "out_bytes"}
        names = [field.name for field in fields(AttendedRows)]
        self._emitter = Emitter(module, f"attend{rows}", [I64 if name in kinds else ADDRESS for name in names])
        self._given = AttendedRows(*self._emitter.arguments)
        self._shape = shape
        self._norm = norm
        self._rows = rows
        self.function = self._write()

    def _write(self) -> Any:
        emitter, shape, given = self._emitter, self._shape, self._given
        build = emitter.build
        queries = self._rotate_queries()
        last = build.add(given.position, int64(self._rows - 1))
        self._begin = build.and_(self._first(0), int64(-KEY_BLOCK))
        self._count = build.sub(build.add(last, int64(1)), self._begin)
        padded = build.and_(build.add(self._count, int64(LANES - 1)), int64(-LANES))
        self._score_bytes = build.mul(padded, int64(4))
        scores = [
            emitter.at(given.scores, build.mul(self._score_bytes, int64(n)))
            for n in range(self._rows * shape.shared_by)
        ]
        skipped = build.mul(self._begin, int64(2 * shape.head_size))
        keys, values = emitter.at(given.keys, skipped), emitter.at(given.values, skipped)
        for begin in range(0, len(scores), _SCORES_AT_ONCE):
            self._score(queries[begin : begin + _SCORES_AT_ONCE], keys, scores[begin : begin + _SCORES_AT_ONCE])
        factors = [self._softmax(row, number // shape.shared_by) for number, row in enumerate(scores)]
        parts_at_once = min(shape.parts, _SUMS_AT_ONCE // 2)
        together = max(1, _SUMS_AT_ONCE // shape.parts)
        for begin in range(0, len(scores), together):
            taken = range(begin, min(begin + together, len(scores)))
            for part in range(0, shape.parts, parts_at_once):
                parts = range(part, min(part + parts_at_once, shape.parts))
                sums = iter(self._read([scores[n] for n in taken], values, parts))
                for number in taken:
                    row, head = divmod(number, shape.shared_by)
                    out = emitter.at(given.out, build.mul(given.out_bytes, int64(row)))
                    for which in parts:
                        place = 4 * shape.head_size * head + _STEP * which
                        emitter.store(emitter.times(next(sums), factors[number]), out, place)
        return emitter.finish()

    def _first(self, row: int) -> Value:
        """Returns the first token that a row attends to."""
        build, given = self._emitter.build, self._given
        first = build.sub(build.add(given.position, int64(row + 1)), given.window)
        return build.select(build.icmp_signed(">", first, int64(0)), first, int64(0))

    def _rotate_queries(self) -> list[Value]:
        emitter, shape, given = self._emitter, self._shape, self._given
        head_bytes = 4 * shape.head_size
        queries = []
        for row in range(self._rows):
            of_row = emitter.at(given.queries, emitter.build.mul(given.query_bytes, int64(row)))
            rotation = emitter.at(given.cosines, head_bytes * row), emitter.at(given.sines, head_bytes * row)
            for head in range(shape.shared_by):
                target = emitter.at(given.own_queries, head_bytes * (row * shape.shared_by + head))
                places = emitter.at(of_row, head_bytes * head), target
                norm = _Norm(self._norm, given.query_norm)
                _rotate(emitter, shape, norm, places=places, rotation=rotation, scale=shape.scale)
                queries.append(target)
        return queries

    def _score(self, queries: list[Value], keys: Value, rows: list[Value]) -> None:
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        with emitter.loop(int64(0), self._count, step=KEY_BLOCK) as block:
            of_block = emitter.at(keys, build.mul(block.index, int64(2 * shape.head_size)))
            zeros = [constant(F32, 0.0)] * len(queries)
            with emitter.loop(int64(0), int64(shape.head_size), zeros, step=_UNROLLED) as part:
                sums = part.carried
                own, column = build.mul(part.index, int64(4)), build.mul(part.index, int64(2 * KEY_BLOCK))
                for number in range(_UNROLLED):
                    key = emitter.load(vector(I16), emitter.at(of_block, column), 2 * KEY_BLOCK * number)
                    wide = emitter.from_bf16(key)
                    sums = [
                        emitter.plus_product(
                            sum_, emitter.splat(emitter.load(F32, emitter.at(query, own), 4 * number)), wide
                        )
                        for sum_, query in zip(sums, queries, strict=True)
                    ]
                part.next = sums
            for sum_, row in zip(part.carried, rows, strict=True):
                emitter.store(sum_, row, build.mul(block.index, int64(4)))

    def _softmax(self, scores: Value, row: int) -> Value:
        """Makes scores exponentials, 0 for what is not attended to, and returns what makes their sum one."""
        emitter, shape = self._emitter, self._shape
        build = emitter.build
        first = build.sub(self._first(row), self._begin)
        # A comparison without a sign holds neither below the first nor beyond the last.
        attended = build.sub(build.add(self._given.position, int64(row + 1)), build.add(self._begin, first))
        attended = emitter.splat(build.trunc(attended, I32))
        places = ir.Constant(vector(I32), list(range(LANES)))
        lowest = constant(F32, _LOWEST)
        with emitter.loop(int64(0), self._score_bytes, [lowest], step=_STEP) as part:
            values = emitter.load(vector(F32), scores, part.index)
            if shape.cap is not None:
                values = emitter.times(
                    hyperbolic_tangent(emitter, emitter.times(values, constant(F32, 1 / shape.cap))),
                    constant(F32, shape.cap),
                )
            begin = build.trunc(build.sub(build.sdiv(part.index, int64(4)), first), I32)
            counts = build.icmp_unsigned("<", build.add(emitter.splat(begin), places), attended)
            values = build.select(counts, values, lowest)
            emitter.store(values, scores, part.index)
            part.next = [emitter.greater(part.carried[0], values)]
        largest = emitter.splat(emitter.reduce(part.carried[0], emitter.greater))
        with emitter.loop(int64(0), self._score_bytes, [constant(F32, 0.0)], step=_STEP) as part:
            values = emitter.load(vector(F32), scores, part.index)
            power = exponential(emitter, build.fsub(values, largest))
            power = build.select(build.fcmp_ordered(">", values, lowest), power, constant(F32, 0.0))
            emitter.store(power, scores, part.index)
            part.next = [emitter.plus(part.carried[0], power)]
        return emitter.splat(build.fdiv(float32(1.0), emitter.reduce(part.carried[0], emitter.plus)))

    def _read(self, scores: list[Value], values: Value, parts: range) -> list[Value]:
        """Returns for each row of scores the sum of values, each times its score, for some of a head's vectors."""
        emitter = self._emitter
        build = emitter.build
        zeros = [constant(F32, 0.0)] * (len(scores) * len(parts))
        with emitter.loop(int64(0), self._count, zeros) as token:
            place = emitter.at(values, build.mul(token.index, int64(2 * self._shape.head_size)))
            wide = [emitter.from_bf16(emitter.load(vector(I16), place, 2 * LANES * part)) for part in parts]
            of_token = build.mul(token.index, int64(4))
            sums = []
            for number, row in enumerate(scores):
                weight = emitter.splat(emitter.load(F32, row, of_token))
                before = token.carried[number * len(wide) : (number + 1) * len(wide)]
                sums += [emitter.plus_product(sum_, weight, value) for sum_, value in zip(before, wide, strict=True)]
            token.next = sums
        return token.carried
