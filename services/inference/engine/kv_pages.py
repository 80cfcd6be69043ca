"""Keys and values in pages of a few tokens, so that sequences of any length share one memory, and what they begin with.

Pages: Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with PagedAttention".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.inference.engine.kv_lane import KVShape

PAGE_TOKENS = 16

SCRATCH_PAGE = 0
"""Belongs to nobody: what fills up a step to its shape is written there."""


class KVPages:
    """All memory for keys and values, taken when it is made, and who holds how much of it.

    Args:
        shape: Of one token's keys and values.
        count: Pages to hand out.
    """

    def __init__(self, shape: KVShape, count: int) -> None:
        size = (shape.layers, count + 1, PAGE_TOKENS, shape.heads, shape.head_size)
        # What is masked is read too, and must not be NaN.
        self.data = torch.zeros(size, dtype=shape.dtype, device=shape.device)
        """Shape `(layers, pages, PAGE_TOKENS, 2 KV, D)`."""
        self.pages = count
        """How many there are to hand out."""
        self._free = list(range(count, SCRATCH_PAGE, -1))
        self._holders = [0] * (count + 1)

    @property
    def free(self) -> int:
        """Pages that nobody holds."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Hands out so many pages that are free; each has one holder then."""
        taken = [self._free.pop() for _ in range(count)]
        for page in taken:
            self._holders[page] = 1
        return taken

    def hold(self, pages: Iterable[int]) -> None:
        """Adds a holder to pages that have one."""
        for page in pages:
            self._holders[page] += 1

    def drop(self, pages: Iterable[int]) -> None:
        """Takes a holder away; what has none left is free."""
        for page in pages:
            self._holders[page] -= 1
            if not self._holders[page]:
                self._free.append(page)

    def copy(self, source: int, target: int) -> None:
        """Copies one page to another."""
        self.data[:, target] = self.data[:, source]


def pages_for(tokens: int) -> int:
    """Returns how many pages hold so many tokens."""
    return -(-tokens // PAGE_TOKENS)
