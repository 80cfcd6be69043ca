"""The arithmetic of what a machine could do."""

from __future__ import annotations

import json

import pytest

from bench.engine.roofline import FORMS, Form, Machine, Shape, step

SMALL = Shape(layers=2, hidden=8, intermediate=16, heads=4, kv_heads=2, head_size=2, vocabulary=100)
BF16 = Form("bf16", 2.0, 2.0)


def test_the_weights_of_the_embedded_model_are_those_of_its_card(tmp_path):
    sizes = {
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
    }
    (tmp_path / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    shape = Shape.of(tmp_path)
    # 134,515,008 parameters with the norms, of which there are 2 a layer and one more, each of the hidden size.
    assert shape.layer_weights + shape.head_weights == 134_515_008 - 61 * 576


def test_a_step_reads_each_weight_once_and_the_cache_of_each_reply():
    # A layer: q and o 8×8 each, k and v 8×4 each, three of 8×16.
    assert SMALL.layer_weights == 2 * (64 + 64 + 32 + 32 + 3 * 128)
    one = step(SMALL, BF16, rows=3, context=10)
    assert one.bytes == 2 * (SMALL.layer_weights + 800) + 3 * 10 * 2 * (2 * 2) * 2 * 2


def test_operations_grow_with_the_replies_and_weights_read_do_not():
    one, four = (step(SMALL, BF16, rows, 0) for rows in (1, 4))
    assert four.bytes == one.bytes
    assert four.operations == 4 * one.operations == 4 * 2 * (SMALL.layer_weights + 800)


def test_a_step_is_as_slow_as_the_slower_of_reading_and_multiplying():
    one = step(SMALL, BF16, 1, 0)
    reads = Machine(bytes_per_second=one.bytes, operations_per_second=10 * one.operations)
    multiplies = Machine(bytes_per_second=10 * one.bytes, operations_per_second=one.operations / 2)
    assert (one.seconds(reads), one.reading_seconds(reads), one.arithmetic_seconds(reads)) == (1, 1, 0.1)
    assert (one.seconds(multiplies), one.arithmetic_seconds(multiplies)) == (2, 2)
    assert step(SMALL, BF16, 4, 0).tokens_per_second(reads) == pytest.approx(4)


def test_four_bit_blocks_read_little_more_than_a_third_of_bf16():
    full, small = (step(Shape(30, 576, 1536, 9, 3, 64, 49152), form, 1, 100).bytes for form in FORMS)
    assert 1 / 3 < small / full < 0.4
