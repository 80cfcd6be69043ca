"""`python -m bench.memory`: measures the memory service. `--help` lists what can be chosen."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine, venv
from bench.drawing import draw
from bench.memory.appends import appends
from bench.memory.dialogues import HALVES, dialogues
from bench.memory.many_users import many_users
from bench.memory.recall import VARIANTS, Ingredients, Tally, through_the_door
from bench.memory.searches import searches
from bench.memory.store_task import store_task
from bench.memory.stores import PEERS, against_peers
from bench.memory.table import recall_markdown, speed_markdown
from bench.memory.workload import FULL, QUICK, Workload
from bench.progress import tell
from bench.result import Observation, Result, collect
from bench.table import OURS
from chatbot.v1 import memory_service_pb2_grpc
from services.memory.embedder import load_embedder
from services.memory.embedder.load import EMBEDDED
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.channel import open_channel
from services.rpc.log import configure_logging
from services.rpc.server import Server, keep_what_is_loaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from chatbot.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub
    from services.memory.embedder import Embedder

PARTS = ("recall", "speed", "many")

_HERE = Path(__file__).parent

_BENCH = machine.CHECKOUT / "bench"
_WAIT_SECONDS = 600.0


def arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser("python -m bench.memory", description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="a part to measure; repeat (default: all)")
    parser.add_argument("--half", choices=HALVES, default="report", help="conversations that recall is measured on")
    parser.add_argument(
        "--embedder", action="append", help="as CHATBOT_EMBEDDER; repeat to compare several (default: embedded)"
    )
    parser.add_argument("--door", action="store_true", help="of recall, the service alone and not its ingredients")
    parser.add_argument("--rounds", type=int, help="repetitions of what is timed (5; 1 with --quick)")
    parser.add_argument("--no-peers", action="store_true", help="measures ours alone")
    parser.add_argument("--quick", action="store_true", help="a smoke run: sizes are tiny and numbers mean nothing")
    parser.add_argument("--out", type=Path, default=_BENCH / "results", help="folder for results")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Runs and writes the results; returns the exit status."""
    options = arguments(words)
    configure_logging("bench", "error", "text")
    failed = False
    for name, part in itertools.product(options.embedder or [EMBEDDED], options.part or PARTS):
        began, load = datetime.now(UTC), os.getloadavg()
        model = load_embedder(name, machine.cores())
        # A caller that stops for its own garbage would measure that.
        keep_what_is_loaded()
        measured = asyncio.run(_measured(part, model, options))
        result = Result(
            question=f"memory {part}",
            date=began.isoformat(timespec="seconds"),
            commit=machine.commit(),
            machine=machine.this_machine(),
            versions=machine.versions("torch", "faiss-cpu", "numpy", "grpcio", "SQLAlchemy", "snowballstemmer")
            | _peers_versions(measured.peers),
            load_average=load,
            workload={"embedder": model.id, **measured.workload},
            series=collect(measured.seen),
            peers=measured.peers,
            missing=measured.missing,
            failures=measured.failures,
        )
        suffix = f"-{options.half}" if part == "recall" and options.half != "report" else ""
        if name != EMBEDDED:
            suffix += f"-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}"
        if part == "recall" and options.door:
            suffix += "-door"
        file = options.out / f"{began:%Y-%m-%d}-memory-{part}{suffix}"
        result.write(file.with_name(f"{file.name}.json"))
        text = recall_markdown(result) if part == "recall" else speed_markdown(result)
        file.with_name(f"{file.name}.md").write_text(text, encoding="utf-8")
        if part != "recall":
            draw(file.with_name(f"{file.name}.json"), "bench.memory.plots")
        tell(f"written: {file}.json and .md")
        failed = failed or bool(measured.failures)
    return int(failed)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What one part saw, of whom, at which sizes."""

    workload: dict[str, object]
    seen: list[tuple[str, Observation]]
    peers: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


async def _measured(part: str, model: Embedder, options: argparse.Namespace) -> _Measured:
    if part == "recall":
        return await _recall(model, options.half, door=options.door, quick=options.quick)
    workload = QUICK if options.quick else FULL
    if options.rounds:
        workload = replace(workload, rounds=options.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if part == "many":
            return _Measured(
                workload.described(), [(OURS, one) async for one in many_users(folder, model, workload, tell)]
            )
        return await _speed(model, workload, folder, peers=not options.no_peers)


async def _speed(model: Embedder, workload: Workload, folder: Path, *, peers: bool) -> _Measured:
    missing: dict[str, str] = {}
    failures: dict[str, str] = {}
    python = None
    if peers:
        tell("making the peers' environment where it is not there")
        try:
            python = venv.interpreter(_HERE)
        except venv.NotInstalled as reason:
            missing = dict.fromkeys(PEERS, str(reason))
    seen = [(OURS, one) async for one in appends(folder, workload, tell)]
    seen += [(OURS, one) async for one in searches(folder, workload, tell)]
    tell("stores on the same vectors")
    task = store_task(model, workload)
    stores = folder / "stores"
    stores.mkdir()
    seen += [one async for one in against_peers(task, stores, python, failures, tell)]
    measured = {contender for contender, _ in seen}
    return _Measured(workload.described(), seen, tuple(name for name in PEERS if name in measured), missing, failures)


async def _recall(embedder: Embedder, half: str, *, door: bool, quick: bool) -> _Measured:
    talks = dialogues(half)[:: 8 if quick else 1]
    ours = Tally("the service")
    tell("asking the service")
    async with serving(embedder) as stub:
        await through_the_door(stub, talks, ours)
    seen = list(ours.observations())
    if not door:
        ingredients = Ingredients(embedder, talks, tell)
        for variant in VARIANTS:
            tally = Tally(variant.name)
            ingredients.search(variant, tally)
            seen += tally.observations()
    workload = {
        "half": half,
        "conversations": len(talks),
        "turns": sum(len(talk.turns) for talk in talks),
        "questions": sum(len(talk.questions) for talk in talks),
    }
    return _Measured(workload, seen)


@asynccontextmanager
async def serving(embedder: Embedder) -> AsyncIterator[MemoryServiceAsyncStub]:
    """A memory service in this process on a folder of its own, and a stub of it on a real connection."""
    with tempfile.TemporaryDirectory() as folder:
        settings = MemorySettings.model_validate(
            {"memory_grpc_port": 0, "data_dir": folder, "search_wait_seconds": _WAIT_SECONDS}
        )
        server = Server(MemoryService(settings, embedder=EmbedderThreads(embedder)), settings)
        await server.bind()
        try:
            await server.start()
            async with open_channel(f"127.0.0.1:{server.port}") as channel:
                yield memory_service_pb2_grpc.MemoryServiceStub(channel)
        finally:
            await server.stop(0)


def _peers_versions(peers: Sequence[str]) -> dict[str, str]:
    return machine.versions_for(venv.interpreter(_HERE), "chromadb", "lancedb", "mem0ai") if peers else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
