"""`python -m bench.context`: measures what stands in prompts. `--help` lists what can be chosen."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine
from bench.context import cache, evidence, first_token
from bench.context.house import opened
from bench.context.table import cache_markdown, evidence_markdown, first_token_markdown
from bench.drawing import draw
from bench.memory.dialogues import HALVES, LANGUAGES, dialogues
from bench.progress import tell
from bench.result import Observation, Result, collect
from services.rpc.log import configure_logging
from services.rpc.settings import variable_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.memory.dialogues import Dialogue

PARTS = ("evidence", "cache", "first-token")

_MARKDOWN = {"evidence": evidence_markdown, "cache": cache_markdown, "first-token": first_token_markdown}
_BENCH = machine.CHECKOUT / "bench"
_QUICK_TURNS = 5
_USUAL = ("report", None, "embedded")
"""What a result's name does not tell."""


def arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser("python -m bench.context", description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="a part to measure; repeat (default: all)")
    names = [case.name for case in cache.CASES]
    parser.add_argument("--case", action="append", choices=names, help="a conversation of `cache` (default: all)")
    parser.add_argument("--half", choices=HALVES, default="report", help="conversations that are asked about")
    parser.add_argument("--language", choices=LANGUAGES, help="only conversations in it, for `evidence` (default: all)")
    parser.add_argument("--embedder", default="embedded", help="as CHATBOT_EMBEDDER")
    parser.add_argument("--model", default="embedded", help="as CHATBOT_MODEL: its tokens are what is counted")
    parser.add_argument("--quick", action="store_true", help="a smoke run: sizes are tiny and numbers mean nothing")
    parser.add_argument("--out", type=Path, default=_BENCH / "results", help="folder for results")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Runs and writes the results; returns the exit status."""
    options = arguments(words)
    configure_logging("bench", "error", "text")
    talks = dialogues(options.half)[:: 8 if options.quick else 1]
    for part in options.part or PARTS:
        began, load = datetime.now(UTC), os.getloadavg()
        with tempfile.TemporaryDirectory() as folder:
            if part == "evidence":
                workload, seen = asyncio.run(_evidence(Path(folder), talks, options))
            elif part == "cache":
                workload, seen = asyncio.run(_cache(Path(folder), talks, options))
            else:
                workload, seen = asyncio.run(_first_token(Path(folder), talks, options))
        result = Result(
            question=f"context {part}",
            date=began.isoformat(timespec="seconds"),
            commit=machine.commit(),
            machine=machine.this_machine(),
            versions=machine.versions("torch", "faiss-cpu", "numpy"),
            load_average=load,
            workload={"model": _name(options.model), "embedder": _name(options.embedder), **workload},
            series=collect(seen),
        )
        unusual = [options.half, options.language, _name(options.embedder), _name(options.model)]
        suffix = "".join(f"-{chosen}" for chosen in unusual if chosen not in _USUAL)
        file = options.out / f"{began:%Y-%m-%d}-context-{part}{suffix}"
        result.write(file.with_name(f"{file.name}.json"))
        file.with_name(f"{file.name}.md").write_text(_MARKDOWN[part](result), encoding="utf-8")
        draw(file.with_name(f"{file.name}.json"), "bench.context.plots")
        tell(f"written: {file}.json, .md and a plot")
    return 0


async def _evidence(
    folder: Path, talks: Sequence[Dialogue], options: argparse.Namespace
) -> tuple[dict[str, object], list[tuple[str, Observation]]]:
    if options.language:
        talks = [talk for talk in talks if talk.language == options.language]
    async with opened(folder, model=options.model, embedder=options.embedder) as house:
        seen = await evidence.measure(house, talks, tell)
    turns = sum(len(talk.turns) for talk in talks)
    return {"half": options.half, "conversations": len(talks), "messages": turns}, seen


async def _cache(
    folder: Path, talks: Sequence[Dialogue], options: argparse.Namespace
) -> tuple[dict[str, object], list[tuple[str, Observation]]]:
    turns = _QUICK_TURNS if options.quick else cache.TURNS
    said = [turn.text for turn in talks[0].turns][: 2 * turns : 2]
    # The halves share no topics.
    (other_half,) = set(HALVES) - {options.half}
    other, same = ([turn.text for turn in talk.turns] for talk in (dialogues(other_half)[0], talks[1]))
    seen: list[tuple[str, Observation]] = []
    for case in cache.CASES:
        if options.case and case.name not in options.case:
            continue
        async with opened(
            folder,
            model=options.model,
            embedder=options.embedder,
            context_tokens=case.context_tokens,
            summaries=case.summaries,
        ) as house:
            seen += await cache.measure(house, case, same if case.same_topics else other, said, tell)
    workload: dict[str, object] = {
        "turns": turns,
        "longest reply": cache.LONGEST_REPLY,
        "earlier messages": len(other),
    }
    return workload, seen


async def _first_token(
    folder: Path, talks: Sequence[Dialogue], options: argparse.Namespace
) -> tuple[dict[str, object], list[tuple[str, Observation]]]:
    turns = _QUICK_TURNS if options.quick else first_token.TURNS
    conversations = 1 if options.quick else first_token.CONVERSATIONS
    said = [turn.text for turn in talks[0].turns][: 2 * turns : 2]
    settings = {variable_name("model"): options.model, variable_name("embedder"): options.embedder}
    workload: dict[str, object] = {
        "conversations": conversations,
        "turns": turns,
        "longest reply": first_token.LONGEST_REPLY,
    }
    return workload, await first_token.measure(folder, settings, said, conversations, tell)


def _name(chosen: str) -> str:
    """Returns a model's name without the folder that it is in here."""
    path = Path(chosen).expanduser()
    return path.stem if path.exists() else chosen.replace("/", "-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
