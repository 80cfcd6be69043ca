"""What is seen of a service whose model is being fetched and loaded."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.inference import service as inference
from services.inference.engine.fake import FakeEngine
from services.inference.settings import InferenceSettings
from services.rpc.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from services.inference.progress import Progress

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_until_the_model_is_loaded_it_does_not_serve_and_the_log_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inference, "_PROGRESS_SECONDS", 0.01)
    halfway, go_on = threading.Event(), threading.Event()
    engine = FakeEngine()

    def load(_: InferenceSettings, progress: Progress) -> FakeEngine:
        progress.begin("downloading org/model")
        progress.reach(3_000_000, 4_000_000)
        halfway.set()
        go_on.wait(20)
        return engine

    settings = InferenceSettings(inference_grpc_port=0, data_dir=tmp_path)
    service = inference.InferenceService(settings, load_engine=load)
    server = Server(service, settings)
    await server.bind()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def statuses() -> set[int]:
            requests = [health_pb2.HealthCheckRequest(service=name) for name in ("", *service.full_names)]
            return {(await health.Check(request)).status for request in requests}

        with structlog.testing.capture_logs() as lines:
            starting = asyncio.create_task(server.start())
            assert await asyncio.to_thread(halfway.wait, 20)
            async with asyncio.timeout(20):
                while sum(line["event"] == "loading" for line in lines) < 3:
                    await asyncio.sleep(0)
            assert await statuses() == {NOT_SERVING}
            go_on.set()
            await starting
        assert await statuses() == {SERVING}
    await server.stop(0)
    steps = [line["step"] for line in lines if line["event"] == "loading"]
    assert steps[-1] == "downloading org/model: 75 % of 4 MB"
    assert any(line["event"] == "model loaded" for line in lines)
