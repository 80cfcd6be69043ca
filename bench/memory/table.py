"""Results of the memory service as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.memory.recall import DEPTHS
from bench.table import cell, heading

if TYPE_CHECKING:
    from bench.result import Result

_LANGUAGES = {"en": "English", "ru": "Russian"}


def recall_markdown(result: Result) -> str:
    """Returns who found how much, and what of each kind of question the first contender found."""
    measures = list(dict.fromkeys(series.measure for series in result.series))
    languages = [measure for measure in measures if measure in _LANGUAGES]
    kinds = [measure for measure in measures if measure not in _LANGUAGES]
    depths = " / ".join(str(depth) for depth in DEPTHS)
    lines = [
        *heading(result),
        f"Evidence among the first {depths} hits, in percent, averaged over questions.",
        "",
        _row("", *(f"{_LANGUAGES[language]} @{depths}" for language in languages)),
        _row(*["---"] * (1 + len(languages))),
        *(_row(name, *(_depths(result, name, language) for language in languages)) for name in result.contenders),
        "",
        f"{result.contenders[0].capitalize()}, by kind of question:",
        "",
        _row("kind", f"@{depths}"),
        _row("---", "---"),
        *(_row(kind, _depths(result, result.contenders[0], kind)) for kind in kinds),
        "",
    ]
    return "\n".join(lines)


def speed_markdown(result: Result) -> str:
    """Returns one row a measurement, one column a contender."""
    contenders = result.contenders
    measured = dict.fromkeys((s.measure, s.metric, s.unit) for s in result.series)
    lines = [
        *heading(result),
        "Medians of all rounds, with the least and the greatest round.",
        "",
        _row("measure", "metric", "unit", *contenders),
        _row(*["---"] * (3 + len(contenders))),
        *(
            _row(measure, metric.replace("_", " "), unit, *(cell(result.find(n, measure, metric)) for n in contenders))
            for measure, metric, unit in measured
        ),
        "",
    ]
    return "\n".join(lines)


def _depths(result: Result, contender: str, measure: str) -> str:
    found = [result.find(contender, measure, f"recall_at_{depth}") for depth in DEPTHS]
    return " / ".join("–" if series is None else f"{series.summary.median:.1f}" for series in found)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
