"""Attention of a text's tokens to each other (https://arxiv.org/abs/1706.03762), one text after the other.

Of each head keys are turned so that 16 tokens lie side by side, then every query is compared with 16 at once. Scores
are powers of two: queries' weights have the scale in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from services.kernels.elementary import power_of_two
from services.kernels.emitter import ADDRESS, F32, I32, I64, LANES, Emitter, constant, float32, int64, vector
from services.memory.embedder.kernels.even_parts import write_even_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kernels.emitter import Value
    from services.kernels.processor import Processor

QUERIES = 4
"""Queries that are compared at once."""
_VECTOR = 4 * LANES
_LOWEST = -3.0e38
"""A score that adds nothing to the sum of weights."""
_DEEP = 8
"""Of a head's numbers, how many are written one after the other in a loop."""


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What is fixed for a model; the size of a head is a multiple of 16."""

    heads: int
    head_size: int

    @property
    def width(self) -> int:
        """Floats of a token's queries, as many of its keys, and of its values."""
        return self.heads * self.head_size


def write_attention(module: Any, shape: AttentionShape, processor: Processor) -> Any:
    """Adds and returns `(queries, keys and values, out, turned keys, scores, count)` for one text.

    A token's queries, keys and values follow one another, in `out` are its heads. There is room for 16 tokens after the
    last. Turned keys take a head's keys of whole sixteens of tokens, scores four such rows.
    """
    blocks = {rows: _QueriesWriter(module, shape, processor, rows).write() for rows in range(1, QUERIES + 1)}
    emitter = Emitter(module, "attention", [ADDRESS] * 4 + [I64])
    qkv, out, turned, scores, count = emitter.arguments
    build = emitter.build
    head_bytes, token_bytes = 4 * shape.head_size, 4 * shape.width
    with emitter.loop(int64(0), int64(shape.heads)) as head:
        of_head = build.mul(head.index, int64(head_bytes))
        queries = emitter.at(qkv, of_head)
        keys, values = (emitter.at(queries, int64(n * token_bytes)) for n in (1, 2))
        attended = emitter.at(out, of_head)
        with emitter.loop(int64(0), count, step=LANES) as token:
            first = emitter.at(keys, build.mul(token.index, int64(3 * token_bytes)))
            tile = emitter.at(turned, build.mul(token.index, int64(head_bytes)))
            for part in range(shape.head_size // LANES):
                rows = [emitter.load(vector(F32), first, 3 * token_bytes * n + _VECTOR * part) for n in range(LANES)]
                for number, row in enumerate(_transposed(emitter, rows)):
                    emitter.store(row, tile, _VECTOR * (LANES * part + number))

        def attend(
            rows: int, begin: Value, queries: Value = queries, values: Value = values, attended: Value = attended
        ) -> None:
            own = emitter.at(queries, build.mul(begin, int64(3 * token_bytes)))
            target = emitter.at(attended, build.mul(begin, int64(token_bytes)))
            build.call(blocks[rows], [own, turned, values, target, scores, count])

        write_even_parts(emitter, count, QUERIES, attend)
    return emitter.finish()


class _QueriesWriter:
    """Writes the function for some queries: `(queries, turned keys, values, out, scores, count)`."""

    def __init__(self, module: Any, shape: AttentionShape, processor: Processor, rows: int) -> None:
        self._shape = shape
        self._processor = processor
        self._emitter = emitter = Emitter(module, f"attention_queries{rows}", [ADDRESS] * 5 + [I64])
        build = emitter.build
        queries, self._turned, self._values, self._out, scores, self._count = emitter.arguments
        self._token_bytes = 4 * shape.width
        self._padded = build.and_(build.add(self._count, int64(LANES - 1)), int64(-LANES))
        self._score_bytes = build.mul(self._padded, int64(4))
        self._queries = [emitter.at(queries, int64(3 * self._token_bytes * row)) for row in range(rows)]
        self._scores = [emitter.at(scores, build.mul(self._score_bytes, int64(row))) for row in range(rows)]

    def write(self) -> Any:
        largest = self._compare()
        sums = [self._weigh(scores, of_row) for scores, of_row in zip(self._scores, largest, strict=True)]
        self._add_values(sums)
        return self._emitter.finish()

    def _compare(self) -> list[Value]:
        """Writes scores, those beyond the last token the lowest; returns 16 of each query's, its largest among them."""
        emitter = self._emitter
        build = emitter.build
        places = ir.Constant(vector(I32), list(range(LANES)))
        tokens = emitter.splat(build.trunc(self._count, I32))
        lowest = constant(F32, _LOWEST)
        with emitter.loop(int64(0), self._padded, [lowest] * len(self._queries), step=LANES) as tile:
            keys = emitter.at(self._turned, build.mul(tile.index, int64(4 * self._shape.head_size)))
            place = build.add(emitter.splat(build.trunc(tile.index, I32)), places)
            is_token = build.icmp_signed("<", place, tokens)
            largest = []
            for row, products, before in zip(self._scores, self._products(keys), tile.carried, strict=True):
                score = build.select(is_token, products, lowest)
                emitter.store(score, row, build.mul(tile.index, int64(4)))
                largest.append(emitter.greater(before, score))
            tile.next = largest
        return tile.carried

    def _products(self, keys: Value) -> list[Value]:
        """Returns for each query its products with 16 keys."""
        emitter = self._emitter
        build = emitter.build
        none = [constant(F32, 0.0)] * len(self._queries)
        with emitter.loop(int64(0), int64(self._shape.head_size), none, step=_DEEP) as part:
            sums = part.carried
            for deep in range(_DEEP):
                number = build.add(part.index, int64(deep))
                key = emitter.load(vector(F32), keys, build.mul(number, int64(_VECTOR)))
                offset = build.mul(number, int64(4))
                sums = [
                    emitter.plus_product(sum_, key, emitter.splat(emitter.load(F32, query, offset)))
                    for sum_, query in zip(sums, self._queries, strict=True)
                ]
            part.next = sums
        return part.carried

    def _weigh(self, scores: Value, largest: Value) -> Value:
        """Makes a query's scores weights; returns their sum."""
        emitter = self._emitter
        highest = emitter.splat(emitter.reduce(largest, emitter.greater))
        with emitter.loop(int64(0), self._score_bytes, [constant(F32, 0.0)], step=_VECTOR) as part:
            score = emitter.load(vector(F32), scores, part.index)
            weight = power_of_two(emitter, emitter.build.fsub(score, highest), self._processor)
            emitter.store(weight, scores, part.index)
            part.next = [emitter.plus(part.carried[0], weight)]
        return emitter.reduce(part.carried[0], emitter.plus)

    def _add_values(self, sums: list[Value]) -> None:
        """Writes what each query attends to."""
        emitter = self._emitter
        build = emitter.build
        parts = self._shape.head_size // LANES
        rows = [(row, part) for row in range(len(sums)) for part in range(parts)]
        with emitter.loop(int64(0), self._count, [constant(F32, 0.0)] * len(rows)) as token:
            value = emitter.at(self._values, build.mul(token.index, int64(3 * self._token_bytes)))
            of_token = [emitter.load(vector(F32), value, _VECTOR * part) for part in range(parts)]
            offset = build.mul(token.index, int64(4))
            weights = [emitter.splat(emitter.load(F32, scores, offset)) for scores in self._scores]
            token.next = [
                emitter.plus_product(before, of_token[part], weights[row])
                for before, (row, part) in zip(token.carried, rows, strict=True)
            ]
        shares = [emitter.splat(build.fdiv(float32(1.0), sum_)) for sum_ in sums]
        for attended, (row, part) in zip(token.carried, rows, strict=True):
            place = self._token_bytes * row + _VECTOR * part
            emitter.store(emitter.times(attended, shares[row]), self._out, place)


def _transposed(emitter: Emitter, rows: Sequence[Value]) -> list[Value]:
    """Returns the columns of 16 rows of 16."""
    build = emitter.build
    values = list(rows)
    for apart in (8, 4, 2, 1):
        # Blocks of `apart` by `apart` change places across the diagonal.
        low = [lane if not lane & apart else LANES + (lane ^ apart) for lane in range(LANES)]
        high = [lane | apart if not lane & apart else LANES + lane for lane in range(LANES)]
        for one in range(LANES):
            if not one & apart:
                pair = values[one], values[one | apart]
                for place, lanes in ((one, low), (one | apart, high)):
                    values[place] = build.shuffle_vector(*pair, ir.Constant(vector(I32), lanes))
    return values
