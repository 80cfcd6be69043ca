"""A comparison as Markdown: a row a form of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.table import cell, heading, number

if TYPE_CHECKING:
    from bench.result import Result

_AGAINST = "bf16"


def markdown(result: Result) -> str:
    """Returns where it ran, then one row a form and one column a measurement."""
    columns = tuple(dict.fromkeys((s.measure, s.metric, s.unit) for s in result.series))
    headings = [
        " ".join(word for word in (measure, metric.replace("_", " "), f"({unit})" if unit else "") if word)
        for measure, metric, unit in columns
    ]
    lines = [
        *heading(result),
        f"Medians, with the least and the greatest repetition. `× {_AGAINST}` is the ratio of medians at one reply.",
        "Divergence is from fp32, agreement with bf16; both and perplexity over the same tokens, read one at a time.",
        "",
        _row("weights", f"× {_AGAINST}", *headings),
        _row(*["---"] * (2 + len(columns))),
    ]
    for name in result.contenders:
        cells = (cell(result.find(name, measure, metric)) for measure, metric, _ in columns)
        lines.append(_row(name, ratio(result, name), *cells))
    return "\n".join([*lines, ""])


def ratio(result: Result, name: str) -> str:
    """Returns a form's tokens a second for one reply divided by those of bf16; a dash where one was not measured."""
    own, other = (result.find(who, "decode/1", "tokens_per_second") for who in (name, _AGAINST))
    if own is None or other is None:
        return "–"
    return number(own.summary.median / other.summary.median)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
