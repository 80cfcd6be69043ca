"""`python -m bench.gpu`: measures the inference service on one GPU beside transformers. `--help` lists the options.

It never takes longer than it is told to: who is left when the time is up is named in the result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench import machine, table
from bench.engine.client import RequestFailed
from bench.engine.roofline import FORMS, Shape
from bench.engine.roofline import step as decode_step
from bench.engine.server_process import NotStarted
from bench.gpu import entrants, random_model
from bench.gpu.entrants import ALONE, FUSED, OURS, Place, Program
from bench.progress import tell
from bench.result import Observation, Result, collect
from bench.summary import median

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gpu.entrants import Entrant

PEERS = ("generate_batch bf16", "generate bnb-int8", "generate bf16")

_WARM_UP_REPLY = 8
_PROMPT = 32
_QUICK = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "max_position_embeddings": 512,
    "sliding_window": 64,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}


@dataclass
class Seen:
    """What a run has seen so far."""

    observations: list[tuple[str, Observation]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    device: str = ""
    profiles: dict[str, str] = field(default_factory=dict)
    """Where the time of one stream goes, by contender."""

    def values(self, contender: str, measure: str, metric: str) -> list[float]:
        """Returns the repetitions of one observation."""
        key = (contender, measure, metric)
        return [seen.value for name, seen in self.observations if (name, seen.measure, seen.metric) == key]


def arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser("python -m bench.gpu", description=__doc__)
    parser.add_argument("--seconds", type=float, default=480.0, help="longest time of all of it (480)")
    parser.add_argument("--rounds", type=int, default=5, help="most repetitions of everything (5)")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64, 256], help="simultaneous replies")
    parser.add_argument("--reply", type=int, default=128, help="tokens of each reply (128)")
    parser.add_argument("--peer", action="append", choices=PEERS, help="a peer to measure; repeat (default: all)")
    parser.add_argument("--no-peers", action="store_true", help="measures ours alone")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the command")
    parser.add_argument("--quick", action="store_true", help="a tiny model: numbers mean nothing")
    parser.add_argument("--out", type=Path, default=machine.CHECKOUT / "bench" / "results", help="folder for results")
    parser.add_argument("--label", default="", help="a word for the files' names")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Runs and writes the result; returns the exit status."""
    options = arguments(words)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("error: no NVIDIA GPU can be used here; --device cpu --quick tries the command without one\n")
        return 2
    until = time.monotonic() + options.seconds
    began = datetime.now(UTC)
    load = os.getloadavg()
    seen = Seen()
    with tempfile.TemporaryDirectory() as scratch:
        folder, logs = Path(scratch) / "model", options.out / "gpu-logs"
        logs.mkdir(parents=True, exist_ok=True)
        tell("writing a model of random weights")
        sizes = _QUICK if options.quick else random_model.GEMMA_3_1B
        random_model.write(folder, "gemma3_text", sizes, dtype=torch.bfloat16, spread=0.02)
        if options.device == "cuda":
            torch.cuda.empty_cache()
        shape = Shape.of(folder)
        place = Place(folder, logs, options.device, max(options.streams), machine.cores())
        file = options.out / "-".join(w for w in (f"{began:%Y-%m-%d}", "gpu", options.label) if w)

        def keep() -> None:
            measured = {name for name, _ in seen.observations}
            result = Result(
                question="gpu",
                date=began.isoformat(timespec="seconds"),
                commit=machine.commit(),
                machine=machine.this_machine(),
                versions=machine.versions("torch", "transformers", "triton", "bitsandbytes", "grpcio"),
                load_average=load,
                workload={
                    "device": seen.device,
                    "model": "gemma-3-1b's configuration, random weights" if not options.quick else "tiny",
                    "rounds": options.rounds,
                    "prompt": _PROMPT,
                    "reply": options.reply,
                },
                series=collect([*seen.observations, *_limits(seen, shape, options)]),
                peers=tuple(peer for peer in PEERS if peer in measured),
                missing=seen.missing,
                failures=seen.failures,
            )
            result.write(file.with_name(f"{file.name}.json"))
            text = table.markdown(result)
            for name, profile in seen.profiles.items():
                text += f"\n## Where the time goes, 1 stream, {name}\n\n```\n{profile}\n```\n"
            file.with_name(f"{file.name}.md").write_text(text, encoding="utf-8")

        asyncio.run(_go(options, place, until, seen, keep))
        keep()
    tell(f"written: {file}.json and .md")
    return 1 if seen.failures or {ALONE, OURS} & set(seen.missing) else 0


async def _go(options: argparse.Namespace, place: Place, until: float, seen: Seen, keep: Callable[[], None]) -> None:
    await _measure_device(options.device, seen)
    chosen = () if options.no_peers else tuple(options.peer or PEERS)
    # Each with its part of the time: ours start longer, the first one before anything has been read once.
    everyone: list[tuple[Entrant, int]] = [
        (entrants.alone(place), 4),
        (entrants.Door(place), 3),
        (entrants.alone(place, fused=True), 3),
        *((entrants.transformers(place, *peer.split()), 2) for peer in PEERS if peer in chosen),
    ]
    for number, (entrant, part) in enumerate(everyone):
        left = until - time.monotonic()
        share = left * part / sum(others for _, others in everyone[number:])
        if share < 10:
            seen.missing[entrant.name] = "the time was up"
            continue
        try:
            async with asyncio.timeout(share):
                await _measure(entrant, options, seen)
        except (NotStarted, RequestFailed, OSError, TimeoutError) as failure:
            reason = str(failure) or "its share of the time was up"
            known = any(name == entrant.name for name, _ in seen.observations)
            (seen.failures if known else seen.missing)[entrant.name] = reason
            tell(f"{entrant.name}: {reason}")
        finally:
            await entrant.stop()
        keep()


async def _measure(entrant: Entrant, options: argparse.Namespace, seen: Seen) -> None:
    began = time.perf_counter()
    tell(f"starting {entrant.name}")
    await entrant.start()
    seen.observations.append((entrant.name, Observation("start", "start", "s", time.perf_counter() - began)))
    for streams in options.streams:
        await entrant.decode(_prompts(streams, f"warm-up {streams}"), _WARM_UP_REPLY)
    for number in range(options.rounds):
        for streams in options.streams:
            found = await entrant.decode(_prompts(streams, f"{number} {streams}"), options.reply)
            by_metric = {one.metric: one.value for one in found}
            tokens, first = by_metric["tokens_per_second"], by_metric.get("first_token_median", 0.0)
            seconds = streams * options.reply / tokens
            step = (1e3 * seconds - first) / (options.reply - 1)
            found.append(Observation(f"decode/{streams}", "step", "ms", step))
            seen.observations += [(entrant.name, one) for one in found]
            tell(f"round {number + 1}, {streams} streams, {entrant.name}: {tokens:.0f} tokens/s, {step:.2f} ms a step")
    if isinstance(entrant, Program) and entrant.name in {ALONE, FUSED}:
        question = {"prompts": _prompts(1, "profile"), "max_tokens": 32, "profile": True}
        seen.profiles[entrant.name] = (await entrant.ask(question))["profile"]


def _prompts(streams: int, seed: str) -> list[tuple[int, ...]]:
    dice = random.Random(seed)  # noqa: S311 - no secret
    return [tuple(dice.randrange(256, 500) for _ in range(_PROMPT)) for _ in range(streams)]


async def _measure_device(device: str, seen: Seen) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.gpu.device_speed", device, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    found = json.loads(output)
    seen.device = found["name"]
    for metric, unit, scale in (("read", "GB/s", 1e9), ("copy", "GB/s", 1e9), ("matmul_bf16", "TFLOP/s", 1e12)):
        seen.observations.append(("machine", Observation("machine", metric, unit, found[metric] / scale)))
    tell(f"{seen.device}: reads {found['read'] / 1e9:.0f} GB/s, copies {found['copy'] / 1e9:.0f} GB/s")


def _limits(seen: Seen, shape: Shape, options: argparse.Namespace) -> list[tuple[str, Observation]]:
    """Returns the least time a step can take by the memory's measured speed, and the shares that were reached."""
    found: list[tuple[str, Observation]] = []
    # Whichever way of measuring it is the faster one.
    speed = 1e9 * max(*seen.values("machine", "machine", "read"), *seen.values("machine", "machine", "copy"))
    for streams in options.streams:
        measure = f"decode/{streams}"
        least = decode_step(shape, FORMS[0], streams, _PROMPT + options.reply / 2)
        found += [
            ("limit of memory, bf16", Observation(measure, "step_bytes", "MB", least.bytes / 1e6)),
            ("limit of memory, bf16", Observation(measure, "step", "ms", 1e3 * least.bytes / speed)),
        ]
        rates = seen.values(ALONE, measure, "tokens_per_second")
        through = seen.values(OURS, measure, "tokens_per_second")
        for name in (ALONE, FUSED):
            if steps := seen.values(name, measure, "step"):
                share = 1e3 * least.bytes / speed / median(steps)
                found.append((name, Observation(measure, "share_of_memory_limit", "", share)))
        if rates and through:
            share = median(through) / median(rates)
            found.append((OURS, Observation(measure, "share_of_engine_alone", "", share)))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
