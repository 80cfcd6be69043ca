"""The keys and values of all running sequences, within a fixed number of tokens.

A sequence is given the room for all it may come to need when it begins, so none ever has to be stopped for want of
memory: one that finds no room waits. Rows of about the same length lie together in a lane, so that a long
conversation does not make the short ones beside it longer to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.inference.engine.kv_lane import KVShape, Lane

if TYPE_CHECKING:
    import torch

    from services.inference.engine.decoder_config import DecoderConfig

_SHORTEST_LANE = 256
"""Tokens. Lanes double in length from here."""


def kv_shape(config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> KVShape:
    """Returns what a decoder's keys and values take."""
    return KVShape(config.layers, 2 * config.kv_heads, config.head_size, dtype, device)


class KVCache:
    """Lanes by their length.

    Args:
        shape: Of one token's keys and values.
        capacity: Most tokens that there is ever memory for.
        most_sequences: Most that run at the same time.
        context_tokens: Longest sequence.
    """

    def __init__(self, shape: KVShape, *, capacity: int, most_sequences: int, context_tokens: int) -> None:
        self._shape = shape
        self._capacity = capacity
        self._most = most_sequences
        self._context = context_tokens
        self._lanes: dict[int, Lane] = {}
        self._lane_of: dict[int, Lane] = {}
        self._lengths: dict[int, int] = {}

    @property
    def reserved(self) -> int:
        """Tokens that there is memory for now."""
        return sum(lane.capacity * lane.rows for lane in self._lanes.values())

    @property
    def sequences(self) -> int:
        """Sequences that have a row."""
        return len(self._lane_of)

    def reserve(self, sequence: int, tokens: int) -> bool:
        """Gives a sequence room for so many tokens; False where there is none now."""
        length = self._lane_length(tokens)
        lane = self._lanes.get(length)
        if lane is None or lane.used == lane.rows:
            used = 0 if lane is None else lane.used
            rows = self._rows_to_have(length, used)
            if rows == used:
                return False
            lane = self._lanes.setdefault(length, Lane(self._shape, length))
            lane.resize(rows)
        lane.add(sequence)
        self._lane_of[sequence] = lane
        self._lengths[sequence] = 0
        return True

    def release(self, sequence: int) -> None:
        """Gives a sequence's room back; without effect where it has none."""
        lane = self._lane_of.pop(sequence, None)
        if lane is not None:
            lane.drop(sequence, self._lengths[lane.last])
            del self._lengths[sequence]

    def holds(self, sequence: int) -> bool:
        """Whether a sequence has a row."""
        return sequence in self._lane_of

    def place(self, sequence: int) -> tuple[Lane, int]:
        """Returns the lane and the row of a sequence, as they are until the next is released."""
        lane = self._lane_of[sequence]
        return lane, lane.row_of(sequence)

    def note_length(self, sequence: int, length: int) -> None:
        """Notes how many tokens of a sequence have been computed."""
        self._lengths[sequence] = length

    def copy_out(self, sequence: int, length: int) -> list[torch.Tensor]:
        """Returns each layer's first keys and values of a sequence, shape `(2 KV, length, D)`."""
        lane, row = self.place(sequence)
        return [lane.layer(n)[row, :, :length].clone() for n in range(self._shape.layers)]

    def copy_in(self, sequence: int, kept: list[torch.Tensor], length: int) -> None:
        """Fills the beginning of a sequence with the first tokens of what `copy_out` returned."""
        lane, row = self.place(sequence)
        for number, layer in enumerate(kept):
            lane.layer(number)[row, :, :length] = layer[:, :length]
        lane.written(row, length)
        self._lengths[sequence] = length

    def _lane_length(self, tokens: int) -> int:
        length = _SHORTEST_LANE
        while length < tokens:
            length *= 2
        return min(length, self._context)

    def _rows_to_have(self, length: int, used: int) -> int:
        """Returns how many rows a full lane can come to have, having made what room there is; `used` where no more."""
        wanted = min(max(2 * used, 1), self._most)
        if self._left() < length * (wanted - used):
            self._trim()
        return used + min(wanted - used, self._left() // length)

    def _left(self) -> int:
        return self._capacity - self.reserved

    def _trim(self) -> None:
        for length, lane in list(self._lanes.items()):
            if not lane.used:
                del self._lanes[length]
            elif lane.used < lane.rows:
                lane.resize(lane.used)
