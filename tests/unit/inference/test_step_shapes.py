"""Which shapes steps have, and which sequences share one."""

from __future__ import annotations

import pytest

from services.inference.engine.step_shapes import StepShape, StepShapes


def _shapes(**changed: int) -> StepShapes:
    plain = {
        "most_rows": 6,
        "most_context": 1000,
        "most_tokens": 6000,
        "queries_a_key": 4,
        "context_worth_a_step": 3000,
    }
    return StepShapes(**{**plain, **changed})


def test_rows_and_context_double_up_to_the_most_and_short_ones_come_first():
    shapes = _shapes().decode()
    assert [shape.rows for shape in shapes] == [1, 2, 4, 8] * 3
    assert list(dict.fromkeys(shape.pages for shape in shapes)) == [16, 32, 63]


def test_no_shape_is_readied_for_more_than_there_is_memory_for():
    shapes = _shapes(most_rows=64, most_context=4096, most_tokens=8192).decode()
    assert max(shape.rows * shape.context for shape in shapes) == 16384
    # One sequence of any length can always be met.
    assert {shape.context for shape in _shapes(most_tokens=10).decode()} == {256, 512, 1008}


@pytest.mark.parametrize("rows", range(1, 7))
@pytest.mark.parametrize("end", [1, 256, 257, 513, 1000])
def test_every_step_of_replies_has_a_shape_that_is_readied(rows: int, end: int):
    shape = _shapes(most_tokens=100_000).decode_shape(rows, end)
    assert shape in _shapes(most_tokens=100_000).decode()
    assert shape.rows >= rows
    assert shape.context >= end


def test_short_sequences_go_apart_where_reading_them_as_far_as_a_long_one_costs_more_than_the_weights():
    ends = [900, *[100] * 3]
    assert _shapes().decode_groups(ends, int) == [[900, 100, 100, 100]]
    assert _shapes().decode_groups([900, *[100] * 5], int) == [[900], [100] * 5]
    assert _shapes().decode_groups([], int) == []


def test_pieces_of_one_shape_are_read_together_as_far_as_there_is_room():
    pieces = [(5, 5), (9, 9), (300, 300), (300, 900), (12, 12)]
    groups = _shapes().prefill_groups(pieces, lambda piece: piece[0], lambda piece: piece[1])
    assert groups == [[(5, 5), (9, 9), (12, 12)], [(300, 300)], [(300, 900)]]
    many = [(2048, 2048)] * 5
    shapes = _shapes(most_context=4096, queries_a_key=1)
    assert [len(group) for group in shapes.prefill_groups(many, lambda p: p[0], lambda p: p[1])] == [2, 2, 1]
    assert shapes.prefill_shape(2, 2048, 2048) == StepShape(2, 2048, 128)
