"""The form that results are kept in."""

from __future__ import annotations

import json

import pytest

from bench.result import SCHEMA, read


def test_repetitions_are_gathered_in_the_order_they_were_made(result):
    assert result.find("ours", "decode/4", "tokens_per_second").values == (300.0, 310.0, 200.0)


def test_what_was_not_measured_is_not_found(result):
    assert result.find("fast peer", "decode/4", "first_token_median") is None


def test_contenders_come_in_order_of_appearance(result):
    assert result.contenders == ("ours", "slow peer", "fast peer", "limit, bf16")


def test_a_result_is_read_back_as_it_was_written(result, tmp_path):
    file = tmp_path / "new" / "result.json"
    result.write(file)
    assert read(file) == result


def test_the_file_has_a_summary_beside_the_values(result, tmp_path):
    file = tmp_path / "result.json"
    result.write(file)
    plain = json.loads(file.read_text(encoding="utf-8"))
    assert plain["schema"] == SCHEMA
    assert plain["series"][0]["summary"] == {
        "count": 3,
        "median": 300.0,
        "minimum": 200.0,
        "maximum": 310.0,
        "quartiles": [250.0, 305.0],
    }


def test_a_file_of_another_schema_is_refused(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"schema": SCHEMA + 1}), encoding="utf-8")
    with pytest.raises(ValueError, match="no result of schema"):
        read(file)
