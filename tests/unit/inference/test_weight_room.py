"""Where the compiled step's weights lie."""

from __future__ import annotations

import pytest
import torch

from services.inference.engine import weight_room
from services.inference.engine.weight_room import WeightRoom


def test_what_is_written_stays_the_same_wherever_a_piece_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weight_room, "_CHUNK", 1_000)
    room = WeightRoom()
    tensors = [
        torch.randint(0, 256, shape, dtype=torch.uint8) for shape in ((3, 100), (500,), (7,), (0,), (60, 80), (9,))
    ]
    taken = [room.take(*tensor.shape).copy_(tensor) for tensor in tensors]
    for tensor, copy in zip(tensors, taken, strict=True):
        assert torch.equal(copy, tensor)
        assert copy.is_contiguous()


def test_each_begins_at_a_cache_line_and_the_next_follows():
    room = WeightRoom()
    first, second = room.take(7, 40), room.take(2, 3)
    assert first.data_ptr() % 64 == 0
    assert second.data_ptr() - first.data_ptr() == 320
