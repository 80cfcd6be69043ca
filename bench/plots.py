"""Draws a result. `python -m bench.plots RESULT.json`, by the interpreter of the measurements' environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from bench.result import read
from bench.table import number

mpl.use("Agg")

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.result import Result

_LIMIT = "limit"
"""What the names of the machine's limits begin with."""

Bar = tuple[str, str, str]
"""Label, measure and metric."""


def draw(result: Result, bars: Sequence[Bar], title: str, unit: str, file: Path, *, limits: bool = False) -> None:
    """Draws grouped bars, one colour a contender, medians with the least and greatest repetition.

    Args:
        result: What was measured.
        bars: The groups, from left to right.
        title: Above the plot.
        unit: At its side.
        file: Where the PNG goes.
        limits: Whether the machine's limits are marked.
    """
    names = [name for name in result.contenders if not name.startswith(_LIMIT)]
    names = [name for name in names if any(result.find(name, *bar[1:]) for bar in bars)]
    if not names:
        return
    figure, axes = plt.subplots(figsize=(max(8, 2.4 * len(bars)), 5), layout="constrained")
    width = 0.84 / len(names)
    for place, name in enumerate(names):
        found = [(at, result.find(name, *bar[1:])) for at, bar in enumerate(bars)]
        sums = [(at, series.summary) for at, series in found if series is not None]
        spots = [at + (place - (len(names) - 1) / 2) * width for at, _ in sums]
        middle = [summary.median for _, summary in sums]
        spread = [[s.median - s.minimum for _, s in sums], [s.maximum - s.median for _, s in sums]]
        drawn = axes.bar(spots, middle, width * 0.92, yerr=spread, capsize=2, label=name, error_kw={"linewidth": 0.8})
        axes.bar_label(drawn, [number(value) for value in middle], fontsize=8, padding=2)
    if limits:
        for name, style in zip([n for n in result.contenders if n.startswith(_LIMIT)], ("--", ":"), strict=False):
            for at, bar in enumerate(bars):
                limit = result.find(name, *bar[1:])
                if limit is not None:
                    label = name if at == 0 else None
                    axes.hlines(limit.summary.median, at - 0.45, at + 0.45, "black", style, label=label, linewidth=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plt.FuncFormatter(lambda value, _: number(value)))
    axes.yaxis.set_minor_formatter(plt.NullFormatter())
    axes.set_xticks(range(len(bars)), [bar[0] for bar in bars])
    axes.set_ylabel(f"{unit}, logarithmic")
    axes.set_title(f"{title}\n{result.machine.cpu}, {result.machine.cores} cores, {result.date[:10]}", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def main(path: Path) -> None:
    """Draws all plots of a result, beside it."""
    result = read(path)
    measures = tuple(dict.fromkeys(series.measure for series in result.series))
    decodes = [name for name in measures if name.startswith("decode/")]
    waits = [*decodes, *(name for name in measures if name.startswith("prefill/"))]
    draw(
        result,
        [(f"{_size(name)} at once", name, "tokens_per_second") for name in decodes],
        "Tokens a second, all streams together (more is better)",
        "tokens/s",
        path.with_name(f"{path.stem}-decode.png"),
        limits=True,
    )
    draw(
        result,
        [(f"{_size(name)} at once", name, "tokens_per_second") for name in measures if name.startswith("busy/")],
        "Tokens a second while another program computes on each processor (more is better)",
        "tokens/s",
        path.with_name(f"{path.stem}-busy.png"),
    )
    draw(
        result,
        [(which.replace("_", " "), "chat", f"{which}_tokens_per_second") for which in ("first_reply", "later_replies")],
        "Tokens a second of one person's conversation (more is better)",
        "tokens/s",
        path.with_name(f"{path.stem}-chat.png"),
    )
    draw(
        result,
        [
            (f"{_size(name)} at once", name, "first_token_median")
            if name in decodes
            else (f"prompt of {_size(name)}", name, "first_token")
            for name in waits
        ],
        "Time to the first token (less is better)",
        "ms",
        path.with_name(f"{path.stem}-first-token.png"),
    )
    turns = [s.metric for s in result.series if s.measure == "conversation" and s.unit == "ms"]
    draw(
        result,
        [
            (metric.removesuffix("_first_token").replace("_", " "), "conversation", metric)
            for metric in dict.fromkeys(turns)
        ],
        "Time to the first token within one conversation (less is better)",
        "ms",
        path.with_name(f"{path.stem}-conversation.png"),
    )


def _size(measure: str) -> str:
    return measure.partition("/")[2]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
