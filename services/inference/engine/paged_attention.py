"""Attention of a step of fixed shape over keys and values in pages.

Every operation has the same shape and place in memory whatever the sequences' lengths are, so that a whole step can be
recorded once and replayed: which pages are read, and what of them is seen, is data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from services.inference.engine.attention import additive, scaled_attention, sees
from services.inference.engine.kv_pages import PAGE_TOKENS, pages_for

if TYPE_CHECKING:
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.step_input import StepInput


@dataclass(frozen=True, slots=True)
class _View:
    """What layers of one window read."""

    pages: torch.Tensor
    """Shape `(rows * pages read of a row,)`."""
    mask: torch.Tensor
    """To be added to the products; shape `(rows, 1, queries or 1, tokens read of a row)`."""


class PagedAttention:
    """New tokens of several sequences, as many of each; sequences that have fewer write the rest to the scratch page.

    Args:
        config: The decoder's.
        memory: All pages, as `KVPages.data` has them.
        given: Positions, slots and tables of the new tokens.
    """

    def __init__(self, config: DecoderConfig, memory: torch.Tensor, given: StepInput) -> None:
        self._config = config
        self._memory = memory
        self._shape = given.shape
        self._slots = given.slots
        own = given.positions.view(given.shape.rows, given.shape.tokens)
        self._views = {window: self._view(window, own, given.tables) for window in dict.fromkeys(config.windows)}

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """As `Attention.attend`."""
        config, shape = self._config, self._shape
        memory, view = self._memory[layer], self._views[config.windows[layer]]
        memory.view(-1, *memory.shape[2:]).index_copy_(0, self._slots, qkv[:, config.heads :])
        cached = memory.index_select(0, view.pages)
        cached = cached.view(shape.rows, -1, *memory.shape[2:]).transpose(1, 2)
        keys, values = cached[:, : config.kv_heads], cached[:, config.kv_heads :]
        # The query heads that share a head of keys stand one after the other where its tokens would.
        queries = qkv[:, : config.heads].view(shape.rows, shape.tokens, config.kv_heads, -1, config.head_size)
        queries = queries.permute(0, 2, 3, 1, 4).reshape(shape.rows, config.kv_heads, -1, config.head_size)
        attended = scaled_attention(config, queries, keys, values, view.mask)
        attended = attended.view(shape.rows, config.kv_heads, -1, shape.tokens, config.head_size)
        return attended.permute(0, 3, 1, 2, 4).reshape(shape.places, -1)

    def _view(self, window: int | None, own: torch.Tensor, tables: torch.Tensor) -> _View:
        shape, device = self._shape, tables.device
        # So many pages hold a window and what is new, wherever in a page it begins.
        count = shape.pages if window is None else min(pages_for(window + shape.tokens - 2) + 1, shape.pages)
        offsets = torch.arange(count * PAGE_TOKENS, device=device)
        if window is None or count == shape.pages:
            pages = tables
            seen = offsets.expand(shape.rows, -1)
        else:
            first = (own[:, :1] - window + 1).clamp(min=0) // PAGE_TOKENS
            wanted = first + torch.arange(count, device=device)
            pages = tables.gather(1, wanted.clamp(max=shape.pages - 1))
            seen = first * PAGE_TOKENS + offsets
        mask = additive(sees(own[:, :, None], seen[:, None], window), self._memory.dtype)
        if shape.tokens > 1:
            mask = mask.repeat(1, self._config.heads // self._config.kv_heads, 1)
        return _View(pages.reshape(-1), mask[:, None])
