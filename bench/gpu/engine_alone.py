"""The program that measures our engine in process, one line of JSON a question: what no door can exceed.

`python -m bench.gpu.engine_alone FOLDER STREAMS DEVICE`: with settings' defaults and the environment's own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from services.inference.engine.model_source import locate
from services.inference.engine.native import load_native_engine
from services.inference.engine.protocol import Delta, EngineRequest, Finished, SamplingParams
from services.inference.progress import Progress
from services.inference.settings import InferenceSettings
from services.rpc.log import configure_logging

if TYPE_CHECKING:
    from services.inference.engine.protocol import Engine

_PROFILE_ROWS = 40


async def _reply(engine: Engine, prompt: list[int], max_tokens: int) -> tuple[float, int]:
    """Returns when the first token came, and how many there were."""
    params = SamplingParams(
        temperature=0.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        seed=1,
        max_tokens=max_tokens,
    )
    first, tokens = 0.0, 0
    async for event in engine.generate(EngineRequest(tuple(prompt), params)):
        if isinstance(event, Delta):
            first = first or time.perf_counter()
        elif isinstance(event, Finished):
            tokens = event.completion_tokens
    return first or time.perf_counter(), tokens


async def _answer(engine: Engine, question: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    replies = await asyncio.gather(*(_reply(engine, p, question["max_tokens"]) for p in question["prompts"]))
    return {
        "seconds": time.perf_counter() - began,
        "tokens": [tokens for _, tokens in replies],
        "firsts": [first - began for first, _ in replies],
    }


async def _profiled(engine: Engine, question: dict[str, Any]) -> dict[str, Any]:
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        await _answer(engine, question)
    averages: Any = profile.key_averages()
    order = "device_time_total" if torch.cuda.is_available() else "cpu_time_total"
    return {"profile": averages.table(sort_by=order, row_limit=_PROFILE_ROWS, max_name_column_width=80)}


async def _serve(engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question = json.loads(line)
        answer = await (_profiled if question.get("profile") else _answer)(engine, question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    await engine.close()


def main(folder: str, streams: str, device: str) -> None:
    """Answers until the input ends."""
    configure_logging("inference", "info", "text")
    with tempfile.TemporaryDirectory() as data:
        settings = InferenceSettings.model_validate(
            {"model": folder, "device": device, "data_dir": Path(data), "max_running_requests": int(streams)}
        )
        progress = Progress()
        asyncio.run(_serve(load_native_engine(settings, locate(folder, Path(data), progress), progress)))


if __name__ == "__main__":
    main(*sys.argv[1:])
