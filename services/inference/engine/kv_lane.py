"""A lane of the KV cache: rows of one length, one for each sequence, without gaps between those in use."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_FINITE_STEP = 128
"""Tokens. New room is made readable so much at a time."""


@dataclass(frozen=True, slots=True)
class KVShape:
    """What keys and values of one token take."""

    layers: int
    heads: int
    """Of keys and of values together."""
    head_size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Bytes, over all layers."""
        return self.layers * self.heads * self.head_size * self.dtype.itemsize


class Lane:
    """Rows of `capacity` tokens. Memory is reserved whole and used as far as rows are written."""

    def __init__(self, shape: KVShape, capacity: int) -> None:
        self.capacity = capacity
        self.dtype, self.device = shape.dtype, shape.device
        self._shape = shape
        self._layers = [self._empty(0) for _ in range(shape.layers)]
        self._rows: list[int] = []
        self._finite: list[int] = []

    @property
    def rows(self) -> int:
        """Rows there is memory for."""
        return len(self._finite)

    @property
    def used(self) -> int:
        """Rows that belong to a sequence: the first ones."""
        return len(self._rows)

    def layer(self, number: int) -> torch.Tensor:
        """Returns a layer's keys, then its values: shape `(rows, 2 KV, capacity, D)`."""
        return self._layers[number]

    def row_of(self, sequence: int) -> int:
        """Returns the row of a sequence; another after any other sequence was dropped."""
        return self._rows.index(sequence)

    def add(self, sequence: int) -> None:
        """Gives a sequence the next row, which there must be memory for."""
        self._rows.append(sequence)

    def drop(self, sequence: int, length_of_last: int) -> None:
        """Takes a sequence's row away; the last row, so many tokens long, moves to its place."""
        row, last = self.row_of(sequence), self.used - 1
        if row != last:
            for layer in self._layers:
                layer[row, :, :length_of_last] = layer[last, :, :length_of_last]
            self._finite[row] = max(self._finite[row], length_of_last)
            self._rows[row] = self._rows[last]
        self._rows.pop()

    @property
    def last(self) -> int:
        """The sequence in the last row."""
        return self._rows[-1]

    def resize(self, rows: int) -> None:
        """Makes memory for so many rows; at least those in use."""
        for number, layer in enumerate(self._layers):
            resized = self._empty(rows)
            for row in range(self.used):
                copied = self._finite[row]
                resized[row, :, :copied] = layer[row, :, :copied]
            # One layer at a time: never twice the memory of all.
            self._layers[number] = resized
        self._finite = self._finite[: self.used] + [0] * (rows - self.used)

    def make_finite(self, rows: int, length: int) -> None:
        """Readies the first rows to be read up to a length: what is masked still must not be NaN."""
        wanted = min(-(-length // _FINITE_STEP) * _FINITE_STEP, self.capacity)
        for row in range(rows):
            begin = self._finite[row]
            if begin < length:
                for layer in self._layers:
                    layer[row, :, begin:wanted] = 0
                self._finite[row] = wanted

    def written(self, row: int, end: int) -> None:
        """Notes that a row holds keys and values up to `end`."""
        self._finite[row] = max(self._finite[row], end)

    def _empty(self, rows: int) -> torch.Tensor:
        shape = self._shape
        size = (rows, shape.heads, self.capacity, shape.head_size)
        return torch.empty(size, dtype=self.dtype, device=self.device)
