"""Linears of an encoder: how their inputs are made ready, how their weights lie, how both are multiplied.

Weights lie in tiles of 32 outputs: their scales and their bias, 32 floats each, then for one step of inputs after the
other two vectors of 16 outputs' weights. Rows are computed by up to eight at once. A row's sums are added in the same
order however many they are, so it gets the same by itself as with others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from services.kernels.elementary import error_function
from services.kernels.emitter import ADDRESS, F32, I64, LANES, Emitter, constant, int64, vector
from services.memory.embedder.kernels.even_parts import write_even_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.kernels.emitter import Value
    from services.kernels.processor import Processor

TILE = 2 * LANES
"""Outputs that are computed at once."""
HEAD_BYTES = 2 * 4 * TILE
"""Of a tile: what comes before its weights."""
VECTOR_BYTES = 4 * LANES
OWN_BYTES = 8
"""Two numbers of 32 bits a row."""
_STEPS = 4
"""Steps of inputs that are written one after the other in a loop."""


@dataclass(frozen=True, slots=True)
class ReadyRows:
    """Where rows are that can be multiplied.

    Attributes:
        values: What their inputs were made into.
        own: What belongs to each, `OWN_BYTES` of them.
        scratch: Room for one row of floats.
    """

    values: Value
    own: Value
    scratch: Value


class Products(ABC):
    """Writes linears and what goes before them.

    Args:
        module: What the functions become a part of.
        processor: What they are compiled for.
    """

    inputs_at_once: ClassVar[int]
    """Inputs of a step."""
    input_bytes: ClassVar[int]
    """Of what an input is made into."""

    def __init__(self, module: Any, processor: Processor) -> None:
        self._processor = processor
        tiles = {rows: self._write_tile(module, rows) for rows in range(1, self._rows_at_once() + 1)}
        self._function = self._write(module, tiles)
        self._ready = {gelu: self._write_ready(module, gelu=gelu) for gelu in (False, True)}

    @staticmethod
    @abstractmethod
    def packed(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Returns a linear as it lies in memory.

        Args:
            weights: Shape `(outputs, inputs)`, a multiple of 32 by a multiple of 128.
            bias: Shape `(outputs,)`.
        """

    def ready(
        self, emitter: Emitter, row: Value, inputs: Value, places: ReadyRows, *, number: Value, gelu: bool = False
    ) -> None:
        """Writes what makes a row of floats ready to be multiplied.

        Args:
            emitter: The function that is written.
            row: Its address.
            inputs: How many floats it has.
            places: Where to.
            number: Its number among those that are multiplied together.
            gelu: Whether it goes through GELU before.
        """
        build = emitter.build
        values = emitter.at(places.values, build.mul(number, build.mul(inputs, int64(self.input_bytes))))
        own = emitter.at(places.own, build.mul(number, int64(OWN_BYTES)))
        build.call(self._ready[gelu], [row, inputs, values, own, places.scratch])

    def linear(
        self,
        emitter: Emitter,
        weights: Value,
        rows: tuple[ReadyRows, Value],
        sizes: tuple[int, int],
        out: Value,
    ) -> None:
        """Writes a linear.

        Args:
            emitter: The function that is written.
            weights: As `packed` has them.
            rows: What `ready` wrote, and how many they are: one at least.
            sizes: Inputs and outputs of a row.
            out: Address of floats.
        """
        places, count = rows
        arguments = [weights, count, places.values, places.own, int64(sizes[0]), out, int64(sizes[1])]
        emitter.build.call(self._function, arguments)

    def _write(self, module: Any, tiles: dict[int, Any]) -> Any:
        emitter = Emitter(module, "linear", [ADDRESS, I64, ADDRESS, ADDRESS, I64, ADDRESS, I64])
        weights, rows, values, of_rows, inputs, out, outputs = emitter.arguments
        build = emitter.build
        tile_bytes = build.add(build.mul(inputs, int64(2 * VECTOR_BYTES // self.inputs_at_once)), int64(HEAD_BYTES))
        row_bytes = build.mul(inputs, int64(self.input_bytes))
        stride = build.mul(outputs, int64(4))
        with emitter.loop(int64(0), build.sdiv(outputs, int64(TILE))) as tile:
            of_tile = emitter.at(weights, build.mul(tile.index, tile_bytes))
            out_of_tile = emitter.at(out, build.mul(tile.index, int64(4 * TILE)))

            def call(count: int, first: Value, of_tile: Value = of_tile, out_of_tile: Value = out_of_tile) -> None:
                own = [
                    emitter.at(values, build.mul(first, row_bytes)),
                    emitter.at(of_rows, build.mul(first, int64(OWN_BYTES))),
                    emitter.at(out_of_tile, build.mul(first, stride)),
                ]
                build.call(tiles[count], [of_tile, *own, inputs, stride])

            write_even_parts(emitter, rows, max(tiles), call)
        return emitter.finish()

    def _write_tile(self, module: Any, count: int) -> Any:
        """Returns the function `(tile, rows, what belongs to each, out, inputs, bytes of a row of out)`."""
        emitter = Emitter(module, f"linear_rows{count}", [ADDRESS] * 4 + [I64] * 2)
        tile, values, of_rows, out, inputs, stride = emitter.arguments
        build = emitter.build
        row_bytes = build.mul(inputs, int64(self.input_bytes))
        rows = [emitter.at(values, build.mul(row_bytes, int64(row))) for row in range(count)]
        own = [emitter.at(of_rows, int64(OWN_BYTES * row)) for row in range(count)]
        weights = emitter.at(tile, int64(HEAD_BYTES))
        begin = [start for row in own for start in [self._start(emitter, row)] * 2]
        step_bytes = 2 * VECTOR_BYTES
        with emitter.loop(int64(0), inputs, begin, step=self.inputs_at_once * _STEPS) as part:
            sums = part.carried
            at = emitter.at(weights, build.mul(part.index, int64(step_bytes // self.inputs_at_once)))
            offset = build.mul(part.index, int64(self.input_bytes))
            for step in range(_STEPS):
                pair = [emitter.load(self._weights(), at, step * step_bytes + VECTOR_BYTES * n) for n in (0, 1)]
                inner = build.add(offset, int64(step * self.inputs_at_once * self.input_bytes))
                sums = [
                    self._plus(emitter, sums[2 * row + n], pair[n], address, inner)
                    for row, address in enumerate(rows)
                    for n in (0, 1)
                ]
            part.next = sums
        for row in range(count):
            for n in (0, 1):
                scale, bias = (emitter.load(vector(F32), tile, VECTOR_BYTES * (n + 2 * which)) for which in (0, 1))
                total = self._finish(emitter, part.carried[2 * row + n], scale, bias, own[row])
                place = build.add(build.mul(stride, int64(row)), int64(VECTOR_BYTES * n))
                emitter.store(total, out, place)
        return emitter.finish()

    @abstractmethod
    def _rows_at_once(self) -> int:
        """Returns the most rows that are computed at once: as many as the processor has registers for."""

    @abstractmethod
    def _write_ready(self, module: Any, *, gelu: bool) -> Any:
        """Returns the function `(row, inputs, its values, what belongs to it, scratch)`."""

    @abstractmethod
    def _weights(self) -> Any:
        """Returns the type of a vector of weights."""

    @abstractmethod
    def _start(self, emitter: Emitter, own: Value) -> Value:
        """Returns what a row's sums of 16 outputs begin with."""

    @abstractmethod
    def _plus(self, emitter: Emitter, sums: Value, weights: Value, row: Value, offset: Value) -> Value:
        """Returns sums with a step's products added."""

    @abstractmethod
    def _finish(self, emitter: Emitter, sums: Value, scale: Value, bias: Value, own: Value) -> Value:
        """Returns 16 outputs."""


def load_active(emitter: Emitter, row: Value, offset: Value, *, gelu: bool) -> Value:
    """Returns 16 floats of a row, gone through GELU (https://arxiv.org/abs/1606.08415) where wanted."""
    values = emitter.load(vector(F32), row, offset)
    if not gelu:
        return values
    half = emitter.times(values, constant(F32, 0.5))
    return emitter.plus_product(half, half, error_function(emitter, emitter.times(values, constant(F32, 0.5**0.5))))


def tiled(
    weights: NDArray[Any], scales: NDArray[np.float32], bias: NDArray[np.float32], step: int
) -> NDArray[np.uint8]:
    """Returns a linear's tiles, shape `(outputs / 32, bytes)`.

    Args:
        weights: Shape `(outputs, inputs)`.
        scales: Shape `(outputs,)`.
        bias: Shape `(outputs,)`.
        step: Inputs of a step.
    """
    outputs, inputs = weights.shape
    in_steps = weights.reshape(outputs // TILE, TILE, inputs // step, step).transpose(0, 2, 1, 3)
    parts = (scales.reshape(-1, TILE), bias.reshape(-1, TILE), in_steps.reshape(outputs // TILE, -1))
    return np.ascontiguousarray(np.concatenate([np.ascontiguousarray(part).view(np.uint8) for part in parts], axis=1))
