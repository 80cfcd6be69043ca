"""Results about prompts as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.context.cache import MEASURE
from bench.context.evidence import CONTENDERS, LATER, UNRELATED
from bench.context.evidence import WHOLE as WHOLE_TALK
from bench.context.first_token import BESIDE, OURS, PREFILL, WHOLE
from bench.table import heading, number

if TYPE_CHECKING:
    from bench.result import Result

_LANGUAGES = {"en": "English", "ru": "Russian"}


def evidence_markdown(result: Result) -> str:
    """Returns who had the evidence in the prompt how often, and what of each kind of question the first one had."""
    first = next(iter(CONTENDERS))
    kinds = [m for m in dict.fromkeys(s.measure for s in result.series) if " " in m.partition("/")[2]]
    lines = [
        *heading(result),
        "Evidence in the prompt, in percent, and mean tokens that recalled messages take. Asked in a new conversation,",
        f"so that nothing is in the window. `{LATER}`: the memory holds everything up to 40 turns after the evidence;",
        f"`{WHOLE_TALK}`: to the end. `{UNRELATED}`: tokens recalled for messages that nothing helps with.",
        "",
    ]
    columns = [(measure, language) for measure in (LATER, WHOLE_TALK) for language in _LANGUAGES]
    lines += [
        _row("", *(f"{measure}, {_LANGUAGES[language]}" for measure, language in columns), f"{UNRELATED}, en / ru"),
        _row(*["---"] * (2 + len(columns))),
    ]
    for name in result.contenders:
        cells = [
            f"{_value(result, name, f'{measure}/{language}', 'evidence')} "
            f"({_value(result, name, f'{measure}/{language}', 'recalled')})"
            for measure, language in columns
        ]
        unrelated = " / ".join(_value(result, name, f"{UNRELATED}/{language}", "recalled") for language in _LANGUAGES)
        lines.append(_row(name, *cells, unrelated))
    most = [s.summary.maximum for s in result.series if s.contender == first and s.metric == "recalled_most"]
    lines += [
        "",
        f"{first.capitalize()}, by kind of question (the most that was ever recalled: {number(max(most))} tokens):",
        "",
        _row("kind", "questions", "evidence, %", "tokens"),
        _row(*["---"] * 4),
    ]
    for kind in kinds:
        cells = [_value(result, first, kind, metric) for metric in ("questions", "evidence", "recalled")]
        lines.append(_row(kind.replace("/", ", "), *cells))
    return "\n".join([*lines, ""])


def cache_markdown(result: Result) -> str:
    """Returns what each case found in the cache."""
    lines = [
        *heading(result),
        "Of the tokens of all prompts, those that the KV cache held; tokens of the prompt that were computed,",
        "and messages recalled, mean of a turn.",
        "",
        _row("context", "cached, %", "computed, tokens", "longest prompt, tokens", "recalled"),
        _row(*["---"] * 5),
    ]
    for name in result.contenders:
        prompts = result.find(name, f"{MEASURE}, each turn", "prompt")
        longest = "–" if prompts is None else number(prompts.summary.maximum)
        share, computed, recalled = (
            _value(result, name, MEASURE, metric) for metric in ("cached_share", "computed", "recalled_messages")
        )
        lines.append(_row(name, share, computed, longest, recalled))
    return "\n".join([*lines, ""])


def first_token_markdown(result: Result) -> str:
    """Returns when replies began, turn by turn."""
    lines = [
        *heading(result),
        "Milliseconds from a turn's request to the first token, through the gateway; of these, what the model took for",
        "the prompt, and what everything else took: medians of all conversations, and the least and the most.",
        "",
        _row("turn", "to the first token", "the model", "all else"),
        _row(*["---"] * 4),
    ]
    for measure in dict.fromkeys(series.measure for series in result.series):
        found = [result.find(OURS, measure, metric) for metric in (WHOLE, PREFILL, BESIDE)]
        cells = [
            "–" if one is None else f"{one.summary.median:.0f} ({one.summary.minimum:.0f} to {one.summary.maximum:.0f})"
            for one in found
        ]
        lines.append(_row(measure.removeprefix("turn "), *cells))
    return "\n".join([*lines, ""])


def _value(result: Result, contender: str, measure: str, metric: str) -> str:
    series = result.find(contender, measure, metric)
    if series is None:
        return "–"
    return f"{series.summary.median:.1f}" if series.unit == "%" else number(series.summary.median)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
