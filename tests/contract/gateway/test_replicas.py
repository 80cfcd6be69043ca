"""Several inference replicas behind one gateway: each conversation stays where its KV cache is."""

from __future__ import annotations

import contextlib
from pathlib import Path

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.engine.fake import FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.channel import open_channel
from services.rpc.server import Server
from tests.contract.gateway.house import USER

CONVERSATIONS = 12


async def test_a_conversation_stays_with_its_replica_and_moves_only_when_that_is_lost(tmp_path: Path):
    engines = [FakeEngine(), FakeEngine(), FakeEngine()]
    async with contextlib.AsyncExitStack() as running:

        async def run(service: object, settings: object) -> Server:
            server = Server(service, settings)
            await server.bind()
            running.push_async_callback(server.stop, 0)
            await server.start()
            return server

        replicas = [
            await run(InferenceService(settings, load_engine=lambda *_, engine=engine: engine), settings)
            for engine in engines
            for settings in [InferenceSettings(data_dir=tmp_path, inference_grpc_port=0)]
        ]
        memory_settings = MemorySettings(data_dir=tmp_path, memory_grpc_port=0)
        memory = await run(MemoryService(memory_settings, embedder=EmbedderThreads(FakeEmbedder())), memory_settings)
        settings = GatewaySettings(
            data_dir=tmp_path,
            gateway_grpc_port=0,
            gateway_http_port=0,
            memory_address=f"127.0.0.1:{memory.port}",
            inference_address="ipv4:" + ",".join(f"127.0.0.1:{replica.port}" for replica in replicas),
        )
        gateway = await run(GatewayService(settings), settings)
        channel = await running.enter_async_context(open_channel(f"127.0.0.1:{gateway.port}"))
        chat = ChatServiceStub(channel)

        async def say(text: str, conversation: str = "") -> tuple[str, int]:
            """Says something and returns the conversation and which replica replied."""
            before = [len(engine.requests) for engine in engines]
            request = chat_pb.ChatRequest(text=text, conversation=conversation)
            events = [event async for event in chat.Chat(request, metadata=USER)]
            served = [n for n, engine in enumerate(engines) if len(engine.requests) > before[n]]
            assert len(served) == 1
            return events[0].started.conversation, served[0]

        home = dict([await say(f"Hi {n}") for n in range(CONVERSATIONS)])
        for _ in range(2):
            for conversation, replica in home.items():
                assert await say("And?", conversation) == (conversation, replica)
        assert len(set(home.values())) > 1

        lost = next(iter(home.values()))
        await replicas[lost].stop(0)
        for conversation, replica in home.items():
            _, now = await say("Still there?", conversation)
            assert now == replica if replica != lost else now != lost
