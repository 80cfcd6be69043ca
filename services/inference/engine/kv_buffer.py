"""The keys and values of one sequence, in memory of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from services.inference.engine.kernels.attention_shape import BLOCK, block_bytes

if TYPE_CHECKING:
    from services.inference.engine.decoder_config import DecoderConfig


@dataclass(frozen=True, slots=True)
class BufferShape:
    """What keys and values take, as the compiled step keeps them."""

    layers: int
    heads: int
    """Of keys and of values together."""
    block_bytes: int
    """Of 16 tokens and one head."""

    @classmethod
    def of(cls, config: DecoderConfig) -> BufferShape:
        """Returns a decoder's."""
        return cls(config.layers, 2 * config.kv_heads, block_bytes(config.head_size))

    @property
    def bytes_per_token(self) -> int:
        """Bytes, over all layers."""
        return self.layers * self.heads * self.block_bytes // BLOCK


class KVBuffer:
    """Room for a sequence as the compiled step reads and writes it. Memory is taken up as far as it is written.

    Args:
        shape: Of its keys and values.
        capacity: Most tokens.
    """

    def __init__(self, shape: BufferShape, capacity: int) -> None:
        self.capacity = capacity
        self._shape = shape
        size = (shape.layers, shape.heads, _blocks(capacity), shape.block_bytes)
        self.data = torch.empty(size, dtype=torch.uint8)
        """Shape `(layers, 2 KV, blocks, bytes of one)`; within a block the step has it as it likes."""
        self.layers = np.array([layer.data_ptr() for layer in self.data], dtype=np.int64)
        """Address of each layer's keys and values, as `StepField.CACHES` has them."""
        self.head_bytes = self.data[0, 0].nbytes
        """From one head to the next."""

    def copy(self, length: int, capacity: int) -> KVBuffer:
        """Returns another, so large, with the first tokens of this one."""
        copied = KVBuffer(self._shape, capacity)
        blocks = _blocks(length)
        copied.data[:, :, :blocks] = self.data[:, :, :blocks]
        return copied


def _blocks(tokens: int) -> int:
    """Returns how many blocks so many tokens need."""
    return -(-tokens // BLOCK)
