"""Memory for weights that every step reads from one end to the other."""

from __future__ import annotations

from math import prod

import numpy as np
import torch

_CHUNK = 64 * 1024 * 1024
_LINE = 64
"""Bytes of a cache line, where each begins."""


class WeightRoom:
    """Gives tensors that lie one after another in a few large pieces of memory.

    Pieces so large are on huge pages where the system has them (numpy asks for them, torch does not): the processor
    then looks up hundreds of times fewer addresses, and fetches ahead across them. What is not used of a piece is never
    touched, and takes no memory.
    """

    def __init__(self) -> None:
        self._chunk = torch.empty(0, dtype=torch.uint8)

    def take(self, *shape: int) -> torch.Tensor:
        """Returns bytes to be written; the memory of all is given back when no tensor of a piece is left."""
        needed = prod(shape)
        size = -(-needed // _LINE) * _LINE
        if size > len(self._chunk):
            self._chunk = torch.from_numpy(np.empty(max(size, _CHUNK) + _LINE, dtype=np.uint8))
            self._chunk = self._chunk[-self._chunk.data_ptr() % _LINE :]
        taken, self._chunk = self._chunk[:needed], self._chunk[size:]
        return taken.view(shape)
