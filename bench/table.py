"""A result as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.result import Result, Series

OURS = "ours"
"""The contender that is held against its peers."""

_MORE_IS_BETTER = "tokens/s"
_LESS_IS_BETTER = "ms"


def number(value: float) -> str:
    """Returns a number with three significant digits, as people write them: 0.0123, 4.57, 23.4, 1,234."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"


def cell(series: Series | None) -> str:
    """Returns a median with the least and the greatest repetition; a dash where there is none."""
    if series is None:
        return "–"
    summary = series.summary
    if summary.count == 1:
        return number(summary.median)
    return f"{number(summary.median)} ({number(summary.minimum)} to {number(summary.maximum)})"


def against_best_peer(result: Result, measure: str, metric: str) -> str:
    """Returns our median divided by the best peer's, the best peer named; a dash where that cannot be said."""
    ours = result.find(OURS, measure, metric)
    if ours is None or ours.unit not in {_MORE_IS_BETTER, _LESS_IS_BETTER}:
        return "–"
    medians = {s.contender: s.summary.median for s in result.series if (s.measure, s.metric) == (measure, metric)}
    peers = {name: value for name, value in medians.items() if name in result.peers}
    if not peers:
        return "–"
    choose = max if ours.unit == _MORE_IS_BETTER else min
    best = choose(peers, key=lambda name: peers[name])
    return f"{number(medians[OURS] / peers[best])} × {best}" if peers[best] else "–"


def heading(result: Result) -> list[str]:
    """Returns the lines that every result begins with: what it is of, and where and how it was taken."""
    machine = result.machine
    load = " / ".join(f"{value:.2f}" for value in result.load_average)
    return [
        f"# {result.question}, {result.date}",
        "",
        f"- Machine: {machine.cpu}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.os}",
        f"- Commit: {result.commit}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in result.versions.items())}",
        f"- Load average before the run (1 / 5 / 15 minutes): {load}",
        f"- Workload: {', '.join(f'{name} {value}' for name, value in result.workload.items())}",
        *(f"- Not measured: {name}: {why}" for name, why in result.missing.items()),
        *(f"- Failed: {name}: {why}" for name, why in result.failures.items()),
        "",
    ]


def markdown(result: Result) -> str:
    """Returns the whole result as Markdown: where it ran, one row a measurement, one column a contender."""
    lines = [
        *heading(result),
        "Medians, with the least and the greatest repetition. The last column is our median divided by that of the",
        "best peer: more is better for tokens/s, less for ms.",
        "",
        *_rows(result),
        "",
    ]
    return "\n".join(lines)


def _rows(result: Result) -> list[str]:
    contenders = result.contenders
    rows = [
        _row("measure", "metric", "unit", *contenders, f"{OURS} to best peer"),
        _row(*["---"] * (4 + len(contenders))),
    ]
    for measure, metric, unit in dict.fromkeys((s.measure, s.metric, s.unit) for s in result.series):
        cells = (cell(result.find(name, measure, metric)) for name in contenders)
        rows.append(_row(measure, metric.replace("_", " "), unit, *cells, against_best_peer(result, measure, metric)))
    return rows


def _row(*cells: str) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
