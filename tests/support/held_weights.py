"""Weights that a test holds, some of them in blocks: what a `.gguf` file would give."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from services.inference.engine.token_table import HeldTable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import torch

    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_weights import Blocks


class HeldWeights:
    """A `WeightSource`.

    Args:
        tensors: All weights.
        blocks: What some of them are stored in.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], blocks: Mapping[str, Blocks] | None = None) -> None:
        self._tensors = tensors
        self._blocks = blocks or {}

    @property
    def names(self) -> Collection[str]:
        return self._tensors.keys()

    @property
    def total_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def stored_bytes(self, name: str) -> int:
        return prod(self.shape(name)) * self._tensors[name].element_size()

    def take(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        return self._tensors[name].detach().to(dtype)

    def take_table(self, name: str, dtype: torch.dtype) -> HeldTable:
        return HeldTable(self.take(name, dtype))

    def form_of(self, name: str) -> Form | None:
        return self._blocks[name].form if name in self._blocks else None

    def take_blocks(self, name: str) -> Blocks:
        return self._blocks[name]
