"""The keys and values of one sequence, in memory of its own."""

from __future__ import annotations

import math
import mmap
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from services.inference.engine.kernels.attention_shape import BLOCK, TILE, block_bytes

if TYPE_CHECKING:
    from services.inference.engine.decoder_config import DecoderConfig


_LOOK_AHEAD = 2
"""How many times as many pages are taken up for tokens to come as those that are written now need."""
_MOST_TOKENS = 16
"""Written at once, that memory is taken up for ahead."""
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")


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

    def pages(self, tokens: int) -> int:
        """Returns how many pages so many tokens take up of each head."""
        return -(-_blocks(tokens) * self.block_bytes // mmap.PAGESIZE)

    def pages_of(self, tokens: int) -> int:
        """Returns how many pages so many more tokens take up of all heads together, in the mean."""
        return -(-tokens * self.bytes_per_token // mmap.PAGESIZE)

    def room(self, tokens: int) -> int:
        """Returns how many tokens' memory so many take up: that of whole pages, for each head."""
        return self.room_of(self.pages(tokens))

    def room_of(self, pages: int) -> int:
        """Returns how many tokens so many pages of each head have room for."""
        return pages * mmap.PAGESIZE * BLOCK // self.block_bytes


class KVBuffer:
    """Keys and values as the compiled step reads and writes them.

    Memory is taken up page by page, as far as it is written, and reads as 0 before. So there can be addresses for far
    more tokens than come: what grows need not be moved.

    Args:
        shape: Of its keys and values.
        capacity: Most tokens.

    Raises:
        MemoryError: There are not so many addresses.
    """

    def __init__(self, shape: BufferShape, capacity: int) -> None:
        self.capacity = capacity
        self.written = 0
        """Most tokens that have been in it."""
        self._shape = shape
        # No two heads share a page, and each ends with a tile: whole tiles are read.
        apart = math.lcm(mmap.PAGESIZE // math.gcd(mmap.PAGESIZE, shape.block_bytes), TILE // BLOCK)
        blocks = -(-_blocks(capacity) // apart) * apart
        size = (shape.layers, shape.heads, blocks, shape.block_bytes)
        self.data = torch.frombuffer(_untouched(math.prod(size)), dtype=torch.uint8).view(size)
        """Shape `(layers, 2 KV, blocks, bytes of one)`; within a block the step has it as it likes."""
        self._pages = self.data.numpy().reshape(shape.layers * shape.heads, -1, mmap.PAGESIZE)[..., 0]
        """The first byte of each page of each head."""
        self._touched = 0
        """Pages, of which a head's follows the same of the head before."""
        self.layers = np.array([layer.data_ptr() for layer in self.data], dtype=np.int64)
        """Address of each layer's keys and values, as `StepField.CACHES` has them."""
        self.head_bytes = self.data[0, 0].nbytes
        """From one head to the next."""

    @property
    def room(self) -> int:
        """Tokens whose memory it takes up, as `BufferShape.room` has it: what was written or looked ahead for."""
        return self._shape.room_of(max(self._shape.pages(self.written), -(-self._touched // len(self._pages))))

    def look_ahead(self, begin: int, end: int, most: int) -> None:
        """Takes up memory for tokens to come, some pages for each that is written now.

        All heads come to the end of a page at once: then a step would wait for hundreds of pages, each of which the
        system first has to find and to fill with 0. What many tokens need is left to the step: its threads share that.

        Args:
            begin: Position of the first token that is written now.
            end: Position after the last.
            most: Position after the last that may ever be written.
        """
        if end - begin > _MOST_TOKENS:
            return
        shape, heads = self._shape, len(self._pages)
        # None of what is written already is on these.
        touched = max(self._touched, shape.pages(begin) * heads)
        ahead = min(shape.pages(end) + 1, shape.pages(most)) * heads
        last = min(touched + _LOOK_AHEAD * shape.pages_of(end - begin), ahead)
        while touched < last:
            page, head = divmod(touched, heads)
            until = min(heads, head + last - touched)
            self._pages[head:until, page] = 0
            touched += until - head
        self._touched = touched

    def begin_with(self, other: KVBuffer, length: int) -> None:
        """Copies the first tokens of another."""
        blocks = _blocks(length)
        self.data[:, :, :blocks] = other.data[:, :, :blocks]
        self.written = max(self.written, length)


def addresses_are_free() -> bool:
    """Whether the system gives addresses without setting memory aside for them, as most do."""
    try:
        return _OVERCOMMIT.read_text(encoding="ascii").strip() != "2"
    except OSError:
        return sys.platform != "win32"


def _untouched(size: int) -> mmap.mmap:
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        return mmap.mmap(-1, size, **private)
    except (OSError, OverflowError):
        raise MemoryError from None


def _blocks(tokens: int) -> int:
    """Returns how many blocks so many tokens need."""
    return -(-tokens // BLOCK)
