"""A result to write and to tell."""

from __future__ import annotations

import pytest

from bench.result import Machine, Observation, Result, collect


@pytest.fixture
def result():
    def rate(value):
        return Observation("decode/4", "tokens_per_second", "tokens/s", value)

    def wait(value):
        return Observation("decode/4", "first_token_median", "ms", value)

    seen = [
        ("ours", rate(300.0)),
        ("ours", wait(40.0)),
        ("slow peer", rate(100.0)),
        ("slow peer", wait(20.0)),
        ("fast peer", rate(200.0)),
        ("limit, bf16", rate(5000.0)),
        ("ours", rate(310.0)),
        ("ours", rate(200.0)),
    ]
    return Result(
        question="engine",
        date="2026-01-02T03:04:05+00:00",
        commit="abc",
        machine=Machine("A CPU", 2, 8 * 2**30, "An OS"),
        versions={"python": "3.11.7"},
        load_average=(0.1, 0.2, 0.3),
        workload={"rounds": 3, "streams": [1, 4]},
        series=collect(seen),
        peers=("slow peer", "fast peer"),
        missing={"absent peer": "not installed"},
        failures={"slow peer arrival": "it broke"},
    )
