"""`python -m bench.memory`: measures the memory service. `--help` lists what can be chosen."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine
from bench.memory import speed
from bench.memory.dialogues import HALVES, dialogues
from bench.memory.recall import VARIANTS, Ingredients, Tally, through_the_door
from bench.memory.table import recall_markdown, speed_markdown
from bench.result import Observation, Result, collect
from chatbot.v1 import memory_service_pb2_grpc
from services.memory.embedder import load_embedder
from services.memory.embedder.load import EMBEDDED
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.channel import open_channel
from services.rpc.log import configure_logging
from services.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatbot.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub
    from services.memory.embedder import Embedder

PARTS = ("recall", "speed")

_BENCH = machine.CHECKOUT / "bench"
_WAIT_SECONDS = 600.0


def arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser("python -m bench.memory", description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="a part to measure; repeat (default: both)")
    parser.add_argument("--half", choices=HALVES, default="report", help="conversations that recall is measured on")
    parser.add_argument(
        "--embedder", action="append", help="as CHATBOT_EMBEDDER; repeat to compare several (default: embedded)"
    )
    parser.add_argument("--door", action="store_true", help="of recall, the service alone and not its ingredients")
    parser.add_argument("--quick", action="store_true", help="a smoke run: sizes are tiny and numbers mean nothing")
    parser.add_argument("--out", type=Path, default=_BENCH / "results", help="folder for results")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Runs and writes the results; returns the exit status."""
    options = arguments(words)
    configure_logging("bench", "error", "text")
    for part, name in itertools.product(options.part or PARTS, options.embedder or [EMBEDDED]):
        began, load = datetime.now(UTC), os.getloadavg()
        embedder = load_embedder(name, machine.cores())
        if part == "recall":
            workload, seen = asyncio.run(_recall(embedder, options.half, door=options.door, quick=options.quick))
        else:
            workload, seen = asyncio.run(_speed(embedder, quick=options.quick))
        result = Result(
            question=f"memory {part}",
            date=began.isoformat(timespec="seconds"),
            commit=machine.commit(),
            machine=machine.this_machine(),
            versions=machine.versions("torch", "faiss-cpu", "numpy", "snowballstemmer"),
            load_average=load,
            workload={"embedder": embedder.id, **workload},
            series=collect(seen),
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
        _tell(f"written: {file}.json and .md")
    return 0


async def _recall(
    embedder: Embedder, half: str, *, door: bool, quick: bool
) -> tuple[dict[str, object], list[tuple[str, Observation]]]:
    talks = dialogues(half)[:: 8 if quick else 1]
    ours = Tally("the service")
    _tell("asking the service")
    async with serving(embedder) as stub:
        await through_the_door(stub, talks, ours)
    seen = list(ours.observations())
    if not door:
        ingredients = Ingredients(embedder, talks, _tell)
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
    return workload, seen


async def _speed(embedder: Embedder, *, quick: bool) -> tuple[dict[str, object], list[tuple[str, Observation]]]:
    workload = speed.QUICK if quick else speed.FULL
    async with serving(speed.ScatteringEmbedder(embedder)) as stub:
        seen = [("ours", one) async for one in speed.measure(stub, workload, _tell)]
    return workload.described(), seen


@asynccontextmanager
async def serving(embedder: Embedder) -> AsyncIterator[MemoryServiceAsyncStub]:
    """A memory service in this process on a folder of its own, and a stub of it on a real connection."""
    with tempfile.TemporaryDirectory() as folder:
        settings = MemorySettings.model_validate(
            {"memory_grpc_port": 0, "data_dir": folder, "search_wait_seconds": _WAIT_SECONDS}
        )
        server = Server(MemoryService(settings, embedder=embedder), settings)
        await server.bind()
        try:
            await server.start()
            async with open_channel(f"127.0.0.1:{server.port}") as channel:
                yield memory_service_pb2_grpc.MemoryServiceStub(channel)
        finally:
            await server.stop(0)


def _tell(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
