"""`python -m bench.quantization`: compares the forms of weights, each in a process of its own. See `--help`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench import machine
from bench.progress import tell
from bench.quantization import report
from bench.quantization.measure import Answer, Question
from bench.quantization.shuffled import shuffled
from bench.quantization.variant import BF16, VARIANTS, Variant
from bench.result import Observation, Result, collect
from bench.unpacked import unpacked
from services.inference.engine.model_source import locate
from services.inference.engine.weight_source import has_4_bit_blocks
from services.inference.progress import Progress
from services.inference.settings import EMBEDDED_MODEL

_HERE = Path(__file__).parent
_DATA = _HERE.parent / ".data"
_SECONDS = 900.0
"""Longest time of one process."""


class NotMeasured(Exception):
    """A form could not be measured; the message says why."""


class Comparison:
    """One run over one model.

    Args:
        folder: The model.
        threads: CPU threads.
        reply: Tokens of each reply that speed is measured with.
        scratch: Where the reference's logits go.
    """

    def __init__(self, folder: Path, threads: int, reply: int, scratch: Path) -> None:
        self._folder = folder
        self._threads = threads
        self._reply = reply
        self._scratch = scratch
        self._bf16: dict[str, tuple[int, ...]] = {}
        self.seen: list[tuple[str, Observation]] = []
        """All observations so far, each with the form it is of."""
        self.missing: dict[str, str] = {}
        """Forms that could not be measured, each with the reason."""

    def quality(self, variant: Variant, text: Path, tokens: int) -> None:
        """Measures what a form loses on a text."""
        answer = self._ask(variant, text, tokens)
        if variant == BF16:
            self._bf16[text.stem] = answer.choices
        observations = [
            Observation(text.stem, "perplexity", "", answer.perplexity),
            Observation(text.stem, "divergence", "nats", answer.divergence),
        ]
        held_against = self._bf16.get(text.stem)
        if held_against is not None:
            same = sum(mine == other for mine, other in zip(answer.choices, held_against, strict=True))
            observations.append(Observation(text.stem, "agreement", "%", 100 * same / len(answer.choices)))
        self._note(variant, observations)

    def speed(self, variant: Variant, text: Path) -> None:
        """Measures how fast a form is once, and what it takes."""
        answer = self._ask(variant, text, 0)
        self._note(
            variant,
            [
                *(
                    Observation(f"decode/{streams}", "tokens_per_second", "tokens/s", value)
                    for streams, value in answer.tokens_per_second.items()
                ),
                Observation("memory", "weights_held", "MB", answer.held_bytes / 1e6),
                Observation("memory", "weights_read_by_a_step", "MB", answer.read_bytes / 1e6),
                Observation("memory", "peak_resident", "MB", answer.peak_bytes / 1e6),
                Observation("start", "load", "s", answer.load_seconds),
            ],
        )

    def _note(self, variant: Variant, observations: list[Observation]) -> None:
        self.seen += [(variant.name, one) for one in observations]
        tell(f"{variant.name}: " + ", ".join(f"{o.measure} {o.metric} {o.value:.4g}" for o in observations))

    def _ask(self, variant: Variant, text: Path, tokens: int) -> Answer:
        folder = self._folder
        if variant.without_blocks:
            plain = unpacked(folder, _DATA / "unpacked" / folder.name)
            folder = shuffled(plain, _DATA / "shuffled" / folder.name)
        elif variant.weights == "int4" and not has_4_bit_blocks(folder):
            raise NotMeasured("the model comes without 4-bit blocks")
        question = Question(
            folder=str(folder),
            weights=variant.weights,
            threshold=variant.threshold,
            threads=self._threads,
            text=str(text),
            tokens=tokens,
            reference=str(self._scratch / f"{text.stem}.logits"),
            streams=variant.streams,
            reply=self._reply,
        )
        command = [sys.executable, "-m", "bench.quantization.measure", json.dumps(asdict(question))]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads)}
        try:
            done = subprocess.run(  # noqa: S603 (a command of our own)
                command, check=False, capture_output=True, text=True, timeout=_SECONDS, env=environment
            )
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"it took longer than {_SECONDS:.0f} s") from None
        if done.returncode:
            raise NotMeasured((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
        return Answer(**json.loads(done.stdout.splitlines()[-1]))


def arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser("python -m bench.quantization", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="as the setting CHATBOT_MODEL (embedded)")
    parser.add_argument("--text", type=Path, action="append", help="a text to read; repeat (text.txt beside this)")
    parser.add_argument("--tokens", type=int, default=1024, help="how many tokens of each text are read (1024)")
    parser.add_argument("--reply", type=int, default=64, help="tokens of each reply that speed is measured with (64)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each speed (5)")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="CPU threads (one per CPU)")
    parser.add_argument("--step", choices=("quality", "speed"), help="measure only this (default: both)")
    parser.add_argument("--only", action="append", help="a form, by its beginning; repeat (default: all)")
    parser.add_argument("--out", type=Path, default=_HERE.parent / "results", help="folder for results")
    parser.add_argument("--label", default="", help="a word for the file's name")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Runs and writes the result; returns the exit status."""
    options = arguments(words)
    load, began, here = os.getloadavg(), datetime.now(UTC), machine.this_machine()
    folder = locate(options.model, _DATA, Progress()).path
    texts = options.text or [_HERE / "text.txt"]
    chosen = [v for v in VARIANTS if not options.only or v.name.startswith(tuple(options.only))]
    name = "-".join(w for w in (f"{began:%Y-%m-%d}", "quantization", machine.slug(here), options.label) if w)
    _DATA.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_DATA) as scratch:
        run = Comparison(folder, options.threads, options.reply, Path(scratch))

        def keep() -> None:
            result = Result(
                question="quantization",
                date=began.isoformat(timespec="seconds"),
                commit=machine.commit(),
                machine=here,
                versions=machine.versions("torch", "transformers", "bitsandbytes", "llvmlite"),
                load_average=load,
                workload={
                    "model": folder.name,
                    "rounds": options.rounds,
                    "threads": options.threads,
                    "reply": options.reply,
                    "tokens": options.tokens,
                },
                series=collect(run.seen),
                missing=run.missing,
            )
            result.write(options.out / f"{name}.json")
            (options.out / f"{name}.md").write_text(report.markdown(result), encoding="utf-8")

        steps = range(1 if options.step == "speed" else 0, 1 if options.step == "quality" else options.rounds + 1)
        for number in steps:
            for variant in chosen:
                if variant.name in run.missing:
                    continue
                try:
                    if number == 0:
                        for text in texts:
                            run.quality(variant, text.resolve(), options.tokens)
                    else:
                        run.speed(variant, texts[0].resolve())
                except NotMeasured as reason:
                    run.missing[variant.name] = str(reason)
                    tell(f"{variant.name} is not measured: {reason}")
                keep()
    tell(f"written: {options.out / name}.json and .md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
