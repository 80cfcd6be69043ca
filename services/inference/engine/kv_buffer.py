"""The keys and values of one sequence, in memory of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from services.inference.engine.kernels.attention_shape import KEY_BLOCK

if TYPE_CHECKING:
    from services.inference.engine.kv_lane import KVShape


class KVBuffer:
    """Room for a sequence as the compiled step reads and writes it. Memory is taken up as far as it is written.

    Args:
        shape: Of one token's keys and values.
        capacity: Most tokens.
    """

    def __init__(self, shape: KVShape, capacity: int) -> None:
        self.capacity = capacity
        self._shape = shape
        size = (shape.layers, shape.heads, _whole_blocks(capacity), shape.head_size)
        self.data = torch.empty(size, dtype=shape.dtype, device=shape.device)
        """Shape `(layers, 2 KV, capacity in whole blocks, D)`; within a block the step has it as it likes."""
        self.layers = np.array([layer.data_ptr() for layer in self.data], dtype=np.int64)
        """Address of each layer's keys and values, as `StepField.CACHES` has them."""
        self.head_bytes = self.data[0, 0].nbytes
        """From one head to the next."""

    def copy(self, length: int, capacity: int) -> KVBuffer:
        """Returns another, so large, with the first tokens of this one."""
        copied = KVBuffer(self._shape, capacity)
        tokens = _whole_blocks(length)
        copied.data[:, :, :tokens] = self.data[:, :, :tokens]
        return copied


def _whole_blocks(tokens: int) -> int:
    """Returns how many tokens the blocks hold that so many need: those of a block lie together."""
    return -(-tokens // KEY_BLOCK) * KEY_BLOCK
