"""Draws a result about prompts. `python -m bench.context.plots RESULT.json`, by the measurements' interpreter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from bench.result import read

mpl.use("Agg")

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from bench.result import Result

_EACH_TURN = "conversation, each turn"
_FIRST_TOKEN = {
    "first_token": ("to the first token", "black"),
    "prefill": ("the model, for the prompt", "tab:orange"),
    "beside_prefill": ("all else", "tab:blue"),
}
_ASKED = 90
"""Percent."""


def main(path: Path) -> None:
    """Draws the plot of a result, beside it."""
    result = read(path)
    file = path.with_suffix(".png")
    if any(series.measure == _EACH_TURN for series in result.series):
        _draw_cache(result, file)
    elif any(series.metric in _FIRST_TOKEN for series in result.series):
        _draw_first_token(result, file)
    else:
        _draw_evidence(result, file)


def _draw_cache(result: Result, file: Path) -> None:
    names = result.contenders
    size = (9, 2.2 * len(names))
    figure, grid = plt.subplots(len(names), 1, figsize=size, layout="constrained", sharex=True, squeeze=False)
    rows = grid[:, 0]
    for axes, name in zip(rows, names, strict=True):
        prompt, cached = (result.find(name, _EACH_TURN, metric) for metric in ("prompt", "cached"))
        if prompt is None or cached is None:
            continue
        turns = range(1, len(prompt.values) + 1)
        axes.bar(turns, prompt.values, color="tab:orange", label="computed")
        axes.bar(turns, cached.values, color="tab:blue", label="found in the cache")
        share = result.find(name, "conversation", "cached_share")
        axes.set_title(f"{name}: {share.summary.median:.1f} % cached" if share else name, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    rows[0].legend(fontsize=8, frameon=False)
    rows[-1].set_xlabel("turn")
    figure.supylabel("tokens of the prompt")
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _draw_first_token(result: Result, file: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    measures = list(dict.fromkeys(series.measure for series in result.series))
    turns = [int(measure.removeprefix("turn ")) for measure in measures]
    for metric, (label, color) in _FIRST_TOKEN.items():
        found = [result.find(result.contenders[0], measure, metric) for measure in measures]
        summaries = [one.summary for one in found if one is not None]
        axes.plot(turns, [one.median for one in summaries], color=color, label=label)
        axes.fill_between(
            turns, [one.minimum for one in summaries], [one.maximum for one in summaries], color=color, alpha=0.15
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("turn")
    axes.set_ylabel("ms")
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _draw_evidence(result: Result, file: Path) -> None:
    measures = [m for m in dict.fromkeys(s.measure for s in result.series) if " " not in m.partition("/")[2]]
    groups = [m for m in measures if any(result.find(name, m, "evidence") for name in result.contenders)]
    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    width = 0.84 / len(result.contenders)
    for place, name in enumerate(result.contenders):
        found = [(at, result.find(name, measure, "evidence")) for at, measure in enumerate(groups)]
        spots = [at + (place - (len(result.contenders) - 1) / 2) * width for at, series in found if series]
        values = [series.summary.median for _, series in found if series]
        drawn = axes.bar(spots, values, width * 0.92, label=name)
        axes.bar_label(drawn, [f"{value:.0f}" for value in values], fontsize=7, padding=2)
    axes.axhline(_ASKED, color="black", linestyle=":", linewidth=1)
    axes.set_xticks(range(len(groups)), [group.replace("/", ", ") for group in groups])
    axes.set_ylabel("evidence in the prompt, %")
    axes.set_ylim(0, 105)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(file, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
