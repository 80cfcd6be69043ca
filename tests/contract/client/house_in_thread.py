"""The three real services, their models scripted, on an event loop of their own, so that a test may wait in any way."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.engine.fake import FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.server import Server


@contextlib.contextmanager
def running_house(folder: Path, engine: FakeEngine) -> Iterator[str]:
    """Runs the services; yields the gateway's address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="house")
    thread.start()
    try:
        stack = contextlib.AsyncExitStack()
        try:
            yield asyncio.run_coroutine_threadsafe(_start(stack, folder, engine), loop).result(60)
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(running: contextlib.AsyncExitStack, folder: Path, engine: FakeEngine) -> str:
    async def run(service: object, settings: object) -> str:
        server = Server(service, settings)
        await server.bind()
        running.push_async_callback(server.stop, 0)
        await server.start()
        return f"127.0.0.1:{server.port}"

    inference = InferenceSettings(data_dir=folder, inference_grpc_port=0)
    memory = MemorySettings(data_dir=folder, memory_grpc_port=0)
    gateway = GatewaySettings(
        data_dir=folder,
        gateway_grpc_port=0,
        gateway_http_port=0,
        inference_address=await run(InferenceService(inference, load_engine=lambda *_: engine), inference),
        memory_address=await run(MemoryService(memory, embedder=EmbedderThreads(FakeEmbedder())), memory),
        reply_reserve_tokens=50,
    )
    return await run(GatewayService(gateway), gateway)
