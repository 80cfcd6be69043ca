"""What the way from an engine to a client carries, no model computing meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import psutil

from bench.engine.grpc_client import GrpcClient
from bench.engine.server_process import NotStarted, ServerProcess, free_port
from bench.result import Observation
from services.rpc.wait import Target, is_serving

if TYPE_CHECKING:
    from pathlib import Path

    from bench.engine.workload import Workload

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


async def observe(workload: Workload, log: Path) -> list[Observation]:
    """Streams scripted replies through a service of its own process and returns what arrived, and the loop's lag.

    Raises:
        NotStarted: That service cannot be started.
    """
    port = free_port()
    sizes = (str(port), str(workload.path_streams), str(workload.path_reply))
    server = ServerProcess((sys.executable, "-m", "bench.engine.scripted_service", *sizes), log, piped=True)
    await server.start()
    address = f"127.0.0.1:{port}"
    try:
        await server.wait_until(lambda: is_serving(Target("scripted", address, "")), _START_SECONDS)
        client = GrpcClient(address)
        await client.reply((0,), 1)
        stdin, stdout = server.process.stdin, server.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process was not started with pipes")
        watched = psutil.Process(server.process.pid)
        busy = _cpu_seconds(watched)
        stdin.write(b"begin\n")
        await stdin.drain()
        replies = await asyncio.gather(*(client.reply((0,), workload.path_reply) for _ in range(workload.path_streams)))
        busy = _cpu_seconds(watched) - busy
        await client.close()
        stdin.close()
        line = await asyncio.wait_for(stdout.readline(), _STOP_SECONDS)
        if not line:
            raise NotStarted(server.last_words())
        lag = json.loads(line)
    finally:
        await server.stop()
    seconds = max(reply.ended for reply in replies) - min(reply.sent for reply in replies)
    messages = sum(len(reply.arrivals) for reply in replies)
    measure = f"stream path/{workload.path_streams}"
    return [
        Observation(measure, "messages_per_second", "messages/s", messages / seconds),
        Observation(measure, "tokens_per_second", "tokens/s", sum(reply.tokens for reply in replies) / seconds),
        # The client of one process may be the limit: this is the server's own share.
        Observation(measure, "server_cpu_a_message", "µs", 1e6 * busy / messages),
        Observation(measure, "loop_lag_median", "ms", 1e3 * lag["median"]),
        Observation(measure, "loop_lag_p99", "ms", 1e3 * lag["p99"]),
        Observation(measure, "loop_lag_max", "ms", 1e3 * lag["max"]),
    ]


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
