"""Embeddings of tokens, looked up: a table that is held, or one whose rows are unpacked when they are first asked for.

Of the 150,000 tokens that a vocabulary has, conversations see some thousands, and a table that is unpacked takes up to
four times the memory that it takes in its file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class TokenTable(Protocol):
    """Embeddings."""

    @property
    def dtype(self) -> torch.dtype:
        """Theirs."""

    @property
    def nbytes(self) -> int:
        """What is held of them takes."""

    def __len__(self) -> int:
        """How many tokens there are."""

    def look_up(self, tokens: Sequence[int]) -> torch.Tensor:
        """Returns tokens' embeddings, shape `(tokens, hidden_size)`."""


class HeldTable:
    """A `TokenTable` in memory, or in a file that is mapped there.

    Args:
        table: Shape `(vocabulary, hidden_size)`.
    """

    def __init__(self, table: torch.Tensor) -> None:
        self._table = table
        self.dtype = table.dtype
        self.nbytes = table.nbytes

    def __len__(self) -> int:
        """As `TokenTable`."""
        return len(self._table)

    def look_up(self, tokens: Sequence[int]) -> torch.Tensor:
        """As `TokenTable.look_up`."""
        return functional.embedding(torch.tensor(tokens), self._table)


class PackedTable:
    """A `TokenTable` whose rows are unpacked once. Not to be looked up from two threads at once.

    Args:
        shape: `(vocabulary, hidden_size)`.
        dtype: What embeddings are held in.
        unpack: Returns some rows.
        packed_bytes: What is held to make them of; 0 where somebody else holds it.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: torch.dtype,
        unpack: Callable[[torch.Tensor], torch.Tensor],
        packed_bytes: int = 0,
    ) -> None:
        self._unpack = unpack
        self._packed_bytes = packed_bytes
        # Not touched before it is written, so that it takes memory a page at a time.
        self._table = torch.empty(shape, dtype=dtype)
        self._known = np.zeros(shape[0], dtype=bool)
        self.dtype = dtype

    @property
    def nbytes(self) -> int:
        """As `TokenTable.nbytes`."""
        return self._packed_bytes + int(self._known.sum()) * self._table.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        """As `TokenTable`."""
        return len(self._table)

    def look_up(self, tokens: Sequence[int]) -> torch.Tensor:
        """As `TokenTable.look_up`."""
        wanted = np.asarray(tokens)
        new = wanted[~self._known[wanted]]
        if len(new):
            rows = torch.from_numpy(np.unique(new))
            self._table[rows] = self._unpack(rows).to(self.dtype)
            self._known[new] = True
        return functional.embedding(torch.from_numpy(wanted), self._table)
