"""Draws how fast memory is. `python -m bench.memory.plots RESULT.json`, by the interpreter of `bench/.venv`."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.plots import draw
from bench.result import read

_KINDS = (
    ("append, ", "Append acknowledged as durable (less is better)", "appends", ("p50", "p99")),
    ("search, ", "Search through the service's door (less is better)", "searches", ("p50", "p95")),
    ("search a user", "Search of the same vectors, in process (less is better)", "stores", ("p50", "p95")),
)


def main(path: Path) -> None:
    """Draws all plots of a result, beside it."""
    result = read(path)
    measures = tuple(dict.fromkeys(series.measure for series in result.series))
    for prefix, title, name, metrics in _KINDS:
        bars = [
            (f"{measure.removeprefix(prefix).strip(', ') or 'all'}\n{metric}".replace(", ", ",\n"), measure, metric)
            for measure in measures
            if measure.startswith(prefix)
            for metric in metrics
            if any((s.measure, s.metric) == (measure, metric) for s in result.series)
        ]
        if bars:
            draw(result, bars, title, "ms", path.with_name(f"{path.stem}-{name}.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
