"""Attention of one step: for each sequence over its own keys and values in the KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.kv_lane import Lane


class PromptAttention:
    """N tokens of one sequence that nothing came before; their keys and values are kept nowhere."""

    def __init__(self, config: DecoderConfig) -> None:
        self._config = config

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """As `Attention.attend`."""
        queries, keys_values = _split(self._config, qkv)
        mask = _causal_mask(0, len(qkv), self._config.windows[layer], qkv.dtype, qkv.device)
        return _read_prompt(self._config, queries, keys_values.transpose(0, 1), mask)


class PrefillAttention:
    """T tokens of one sequence, from position `begin` on."""

    def __init__(self, config: DecoderConfig, lane: Lane, row: int, begin: int, end: int) -> None:
        self._config = config
        self._lane = lane
        self._row, self._begin, self._end = row, begin, end
        lane.written(row, end)
        self._masks = {
            window: _causal_mask(begin, end, window, lane.dtype, lane.device) for window in set(config.windows)
        }

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """As `Attention.attend`."""
        queries, keys_values = _split(self._config, qkv)
        row = self._lane.layer(layer)[self._row]
        row[:, self._begin : self._end] = keys_values.transpose(0, 1)
        return _read_prompt(self._config, queries, row[:, : self._end], self._masks[self._config.windows[layer]])


class DecodeAttention:
    """One token each of several sequences in one lane, given in the order of their rows.

    All rows up to the last are read: those between that have no token in this step are read in vain, which costs
    less than to copy the others together.
    """

    def __init__(self, config: DecoderConfig, lane: Lane, rows: list[int], positions: list[int]) -> None:
        self._config = config
        self._lane = lane
        self._rows = torch.tensor(rows, device=lane.device)
        self._positions = torch.tensor(positions, device=lane.device)
        self._count = rows[-1] + 1
        self._whole = len(rows) == self._count
        self._length = max(positions) + 1
        lane.make_finite(self._count, self._length)
        self._masks = {window: self._mask(window, positions) for window in set(config.windows)}

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """As `Attention.attend`."""
        config = self._config
        queries, keys_values = _split(config, qkv)
        cache = self._lane.layer(layer)
        cache[self._rows, :, self._positions] = keys_values
        if not self._whole:
            queries = queries.new_zeros((self._count, *queries.shape[1:])).index_copy_(0, self._rows, queries)
        cache = cache[: self._count, :, : self._length]
        keys, values = cache[:, : config.kv_heads], cache[:, config.kv_heads :]
        # The query heads that share a head of keys stand where a prompt's tokens would.
        grouped = queries.reshape(self._count, config.kv_heads, -1, config.head_size)
        read = scaled_attention(config, grouped, keys, values, self._masks[config.windows[layer]])
        read = read.reshape(self._count, -1)
        return read if self._whole else read[self._rows]

    def _mask(self, window: int | None, positions: list[int]) -> torch.Tensor | None:
        lone = self._whole and min(positions) + 1 == self._length
        if lone and (window is None or window >= self._length):
            return None
        own = torch.zeros(self._count, dtype=torch.long, device=self._lane.device)
        own = own.index_copy_(0, self._rows, self._positions)[:, None]
        seen = torch.arange(self._length, device=self._lane.device)[None]
        return additive(sees(own, seen, window), self._lane.dtype)[:, None, None]


@dataclass(frozen=True, slots=True)
class StepAttention:
    """All sequences of a step: each part has so many of its tokens, one after the other."""

    parts: tuple[tuple[int, PrefillAttention | DecodeAttention], ...]

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """As `Attention.attend`."""
        if len(self.parts) == 1:
            return self.parts[0][1].attend(layer, qkv)
        read, begin = [], 0
        for size, part in self.parts:
            read.append(part.attend(layer, qkv[begin : begin + size]))
            begin += size
        return torch.cat(read)


def _split(config: DecoderConfig, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return qkv[:, : config.heads], qkv[:, config.heads :]


def _causal_mask(
    begin: int, end: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> torch.Tensor | None:
    """Returns None where every token simply sees all before it, from the first on."""
    if begin == 0 and (window is None or window >= end):
        return None
    own = torch.arange(begin, end, device=device)[:, None]
    return additive(sees(own, torch.arange(end, device=device)[None], window), dtype)


def sees(own: torch.Tensor, other: torch.Tensor, window: int | None) -> torch.Tensor:
    """Returns which tokens those at the positions `own` attend to, of those at the positions `other`."""
    seen = other <= own
    return seen if window is None else seen & (other > own - window)


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns what to add to products so that only what is seen counts."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


def _read_prompt(
    config: DecoderConfig, queries: torch.Tensor, keys_values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Reads for T tokens of one sequence.

    Args:
        config: The decoder's.
        queries: Shape `(T, H, D)`.
        keys_values: Shape `(2 KV, L, D)`.
        mask: Shape `(T, L)`; None: causal.
    """
    keys, values = keys_values[None, : config.kv_heads], keys_values[None, config.kv_heads :]
    read = scaled_attention(config, queries.transpose(0, 1)[None], keys, values, mask, causal=mask is None)
    return read[0].transpose(0, 1).reshape(len(queries), -1)


def scaled_attention(
    config: DecoderConfig,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    causal: bool = False,
) -> torch.Tensor:
    """Scaled dot-product attention; all but the mask of shape `(B, heads, tokens, D)`."""
    grouped = queries.shape[1] != keys.shape[1]
    scale = config.attention_scale
    if config.attention_cap is None:
        return functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
        )
    if grouped:
        repeats = queries.shape[1] // keys.shape[1]
        keys, values = (t.repeat_interleave(repeats, dim=1) for t in (keys, values))
    products = torch.matmul(queries, keys.transpose(2, 3)) * scale
    products = torch.tanh(products / config.attention_cap) * config.attention_cap
    if causal:
        mask = _causal(products.shape[-1], products.dtype, products.device)
    if mask is not None:
        products = products + mask
    return torch.matmul(products.softmax(dim=-1, dtype=torch.float32).to(values.dtype), values)


def _causal(length: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    own = torch.arange(length, device=device)
    return additive(sees(own[:, None], own[None], None), dtype)
