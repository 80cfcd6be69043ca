"""A comparison of weights as Markdown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.quantization.report import markdown, ratio
from bench.result import Observation, collect

if TYPE_CHECKING:
    from bench.result import Result


def _compared(result: Result) -> Result:
    speeds = {"bf16": 20.0, "int8": 50.0}
    observed = [(n, Observation("decode/1", "tokens_per_second", "tokens/s", v)) for n, v in speeds.items()]
    observed.append(("fp32", Observation("text", "perplexity", "", 12.345)))
    return replace(result, series=collect(observed), missing={"bnb-nf4": "no kernel"})


def test_speed_is_told_as_a_multiple_of_bf16(result: Result):
    compared = _compared(result)
    assert ratio(compared, "int8") == "2.50"
    assert ratio(compared, "fp32") == "–"


def test_there_is_a_row_for_each_form_and_a_line_for_what_is_missing(result: Result):
    lines = markdown(_compared(result)).splitlines()
    assert "| int8 | 2.50 | 50.0 | – |" in lines
    assert "| fp32 | – | – | 12.3 |" in lines
    assert "- Not measured: bnb-nf4: no kernel" in lines
