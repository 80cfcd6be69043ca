"""Results of the memory service as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.memory.recall import DEPTHS
from bench.table import heading, number

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
    """Returns one row a measurement."""
    lines = [
        *heading(result),
        _row("measure", "metric", "value"),
        _row("---", "---", "---"),
        *(_row(s.measure, s.metric.replace("_", " "), f"{number(s.summary.median)} {s.unit}") for s in result.series),
        "",
    ]
    return "\n".join(lines)


def _depths(result: Result, contender: str, measure: str) -> str:
    found = [result.find(contender, measure, f"recall_at_{depth}") for depth in DEPTHS]
    return " / ".join("–" if series is None else f"{series.summary.median:.1f}" for series in found)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
