"""The process as a supervisor sees it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from chatbot.v1 import inference_service_pb2 as pb
from chatbot.v1 import inference_service_pb2_grpc
from services.rpc.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[3]

SERVE = """
from services.inference.engine.fake import FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc.server import run
run("inference", InferenceSettings, lambda s: InferenceService(s, load_engine=lambda *_: FakeEngine(die_after=1)))
"""


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
        "CHATBOT_INFERENCE_GRPC_PORT": "0",
        "CHATBOT_DATA_DIR": str(tmp_path),
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    yield started
    with suppress(ProcessLookupError):
        started.kill()
    await started.communicate()


async def test_a_dead_engine_ends_the_process_with_a_failure(process: asyncio.subprocess.Process):
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while not (address := re.search(rb"serving.*address=(\S+)", await process.stderr.readline())):
            pass
        async with open_channel(address[1].decode()) as channel:
            call = inference_service_pb2_grpc.InferenceServiceStub(channel).Generate(pb.GenerateRequest(text="a"))
            with pytest.raises(grpc.aio.AioRpcError):
                async for _ in call:
                    pass
        _, rest = await process.communicate()
    assert process.returncode == 1
    assert rest.splitlines()[-1].startswith(b"error: inference stopped: the engine died")
    assert b"Traceback" not in rest
