"""What stands in prompts, as a report."""

from __future__ import annotations

import pytest

from bench.context.cache import CASES
from bench.context.evidence import CONTENDERS, LATER, SMALL_TALK, Tally
from bench.context.first_token import BESIDE, OURS, PREFILL, WHOLE
from bench.context.table import cache_markdown, evidence_markdown, first_token_markdown
from bench.memory.dialogues import LANGUAGES
from bench.result import Machine, Observation, Result, collect


def result_of(seen: list[tuple[str, Observation]]) -> Result:
    return Result("context", "2026-11-25", "abc", Machine("cpu", 2, 1 << 30, "os"), {}, (0, 0, 0), {}, collect(seen))


def test_small_talk_is_there_in_every_language():
    assert set(SMALL_TALK) == set(LANGUAGES)
    assert len({len(texts) for texts in SMALL_TALK.values()}) == 1


def test_evidence_is_the_mean_share_and_small_talk_counts_tokens_alone():
    tally = Tally(next(iter(CONTENDERS)))
    tally.count([f"{LATER}/en", f"{LATER}/en direct"], 1.0, 100)
    tally.count([f"{LATER}/en", f"{LATER}/en single"], 0.5, 300)
    tally.count(["unrelated/en"], None, 40)
    seen = {(o.measure, o.metric): o.value for _, o in tally.observations()}
    assert seen[f"{LATER}/en", "evidence"] == 75
    assert seen[f"{LATER}/en", "recalled"] == 200
    assert ("unrelated/en", "evidence") not in seen
    text = evidence_markdown(result_of(list(tally.observations())))
    assert f"| {tally.name} | 75.0 (200) | – (–) |" in text
    assert f"| {LATER}, en single | 1.00 | 50.0 | 300 |" in text
    assert "300 tokens" in text


@pytest.mark.parametrize("case", CASES)
def test_a_conversation_is_reported_by_its_share_and_its_longest_prompt(case):
    seen = [
        (case.name, Observation("conversation", "cached_share", "%", 93.21)),
        (case.name, Observation("conversation", "computed", "tokens a turn", 12.5)),
        (case.name, Observation("conversation", "recalled_messages", "a turn", 2.0)),
        *((case.name, Observation("conversation, each turn", "prompt", "tokens", value)) for value in (10, 400)),
    ]
    assert f"| {case.name} | 93.2 | 12.5 | 400 | 2.00 |" in cache_markdown(result_of(seen))


def test_first_tokens_are_reported_turn_by_turn():
    seen = [
        (OURS, Observation(f"turn {turn}", metric, "ms", value))
        for turn in (1, 2)
        for metric, values in ((WHOLE, (50, 70, 60)), (PREFILL, (30, 40, 35)), (BESIDE, (20, 30, 25)))
        for value in values
    ]
    assert "| 2 | 60 (50 to 70) | 35 (30 to 40) | 25 (20 to 30) |" in first_token_markdown(result_of(seen))
