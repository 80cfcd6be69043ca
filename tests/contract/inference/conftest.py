"""The real door on a real channel, with a scripted engine behind it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from chatbot.v1 import inference_service_pb2_grpc
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc.channel import open_channel
from services.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from services.inference.engine.fake import FakeEngine

    Serve = Callable[..., Awaitable[inference_service_pb2_grpc.InferenceServiceAsyncStub]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def start(
            engine: FakeEngine, *, load: bool = True, **changed: object
        ) -> inference_service_pb2_grpc.InferenceServiceAsyncStub:
            settings = InferenceSettings(inference_grpc_port=0, data_dir=tmp_path, **changed)
            server = Server(InferenceService(settings, load_engine=lambda *_: engine), settings)
            await server.bind()
            stack.push_async_callback(server.stop, 0)
            if load:
                await server.start()
            channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{server.port}"))
            return inference_service_pb2_grpc.InferenceServiceStub(channel)

        yield start
