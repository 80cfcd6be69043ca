"""The program that serves replies without a model, and watches its own event loop.

`python -m bench.engine.scripted_service PORT STREAMS TOKENS`: our service as it is, with the scripted engine behind
it. Serves until its standard input ends, then prints one line of JSON: how late the loop was, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.summary import median, percentile
from services.inference.engine.fake import FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc.log import configure_logging
from services.rpc.server import Server

_WATCH_SECONDS = 0.005


async def _watch(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + _WATCH_SECONDS
        await asyncio.sleep(_WATCH_SECONDS)
        lags.append(time.perf_counter() - due)


async def _serve(port: int, streams: int, tokens: int, data_dir: Path) -> None:
    settings = InferenceSettings.model_validate(
        {"inference_grpc_port": port, "max_running_requests": streams, "data_dir": data_dir}
    )
    reply = [f" word{place}" for place in range(tokens)]
    service = InferenceService(settings, load_engine=lambda *_: FakeEngine(reply))
    server = Server(service, settings)
    await server.bind()
    await server.start()
    lags: list[float] = []
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    # A line begins a measurement, so that the lag of starting up is not counted; the input's end ends it.
    loop.add_reader(sys.stdin.fileno(), lambda: lags.clear() if os.read(sys.stdin.fileno(), 1024) else ended.set())
    watch = asyncio.create_task(_watch(lags))
    await ended.wait()
    watch.cancel()
    loop.remove_reader(sys.stdin.fileno())
    sys.stdout.write(json.dumps({"median": median(lags), "p99": percentile(lags, 0.99), "max": max(lags)}) + "\n")
    await server.stop(0)


def main(port: str, streams: str, tokens: str) -> None:
    """Serves."""
    # As in the service: lines go to standard error, and standard output is left to the answer.
    configure_logging("inference", "info", "text")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_serve(int(port), int(streams), int(tokens), Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
