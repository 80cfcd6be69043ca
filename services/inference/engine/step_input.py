"""What a step of fixed shape is told: token ids, positions, and where keys and values are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from services.inference.engine.kv_pages import PAGE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from services.inference.engine.step_shapes import StepShape


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of one sequence that follow one another, and its pages."""

    tokens: Sequence[int]
    begin: int
    """Position of the first in the sequence."""
    pages: npt.NDArray[np.int64]

    @property
    def end(self) -> int:
        """Position after the last."""
        return self.begin + len(self.tokens)


class StepInput:
    """Memory for one shape, which stays where it is; everything reaches the device in one copy.

    Args:
        shape: Of the step.
        device: Where it runs.
    """

    def __init__(self, shape: StepShape, device: torch.device) -> None:
        self.shape = shape
        sizes = [shape.places, shape.places, shape.places, shape.rows, shape.rows * shape.pages]
        self._host = torch.zeros(sum(sizes), dtype=torch.long, pin_memory=device.type == "cuda")
        self._there = torch.zeros(sum(sizes), dtype=torch.long, device=device)
        tokens, positions, slots, last, tables = (part.numpy() for part in torch.split(self._host, sizes))
        rectangle = (shape.rows, shape.tokens)
        self._tokens, self._positions, self._slots = (a.reshape(rectangle) for a in (tokens, positions, slots))
        self._last, self._tables = last, tables.reshape(shape.rows, shape.pages)
        there = torch.split(self._there, sizes)
        self.tokens, self.positions, self.slots, self.last = there[:4]
        """Of each new token its id, its position and its slot, shape `(places,)`; of each row which new one is its
        last, shape `(rows,)`."""
        self.tables = there[4].view(shape.rows, shape.pages)
        """Each row's pages. What is left of a row, and rows without a sequence, are the scratch page."""

    def fill(self, pieces: Sequence[Piece]) -> None:
        """Tells of so many sequences, one a row. What was told before must have been computed."""
        shape = self.shape
        self._host.zero_()
        for row, piece in enumerate(pieces):
            count = len(piece.tokens)
            pages = piece.pages[: shape.pages]
            self._tables[row, : len(pages)] = pages
            self._tokens[row, :count] = piece.tokens
            # What fills a row up repeats its last position: it must see something, and is read by nobody.
            self._positions[row] = piece.end - 1
            positions = np.arange(piece.begin, piece.end)
            self._positions[row, :count] = positions
            self._slots[row, :count] = pages[positions // PAGE_TOKENS] * PAGE_TOKENS + positions % PAGE_TOKENS
            self._last[row] = row * shape.tokens + count - 1
        self._there.copy_(self._host, non_blocking=True)
