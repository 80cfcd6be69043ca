"""The service as a process: what it answers before it is ready, what survives a kill, what it refuses to start on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
from grpc.aio import AioRpcError

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb
from chatbot.v1 import memory_service_pb2_grpc
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.channel import open_channel
from services.rpc.server import Server

KILLS = int(os.environ.get("MEMORY_KILLS", "2"))


async def test_calls_before_the_start_are_told_to_come_again(tmp_path, refused):
    settings = MemorySettings(memory_grpc_port=0, data_dir=tmp_path)
    room = MemoryService(settings, embedder=EmbedderThreads(FakeEmbedder()))
    server = Server(room, settings)
    await server.bind()
    try:
        async with open_channel(f"127.0.0.1:{server.port}") as channel:
            stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
            told = await refused(stub.ListConversations(pb.ListConversationsRequest(user_id="ann")))
        assert (told.code, told.reason, told.retry) == ("UNAVAILABLE", "UNAVAILABLE", True)
    finally:
        await server.stop(0)


async def test_a_service_that_could_not_start_gives_back_what_it_took(tmp_path):
    settings = MemorySettings(memory_grpc_port=0, data_dir=tmp_path, embedder="/no/such/folder")
    room = MemoryService(settings)
    with pytest.raises(Exception, match="no such folder"):
        await room.start()
    await room.stop()
    again = MemoryService(settings, embedder=EmbedderThreads(FakeEmbedder()))
    await again.start()
    await again.stop()


class Process:
    """`python -m services.memory` on a folder."""

    def __init__(self, folder, **env):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.memory", "--exit-with-parent"],
            env={
                **os.environ,
                "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{Path.cwd() / 'gen'}",
                "PYTHONUNBUFFERED": "1",
                "CHATBOT_DATA_DIR": str(folder),
                "CHATBOT_MEMORY_GRPC_PORT": "0",
                **env,
            },
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.communicate()

    async def address(self) -> str:
        """Where it serves, once it does."""
        while line := await asyncio.to_thread(self.process.stderr.readline):
            if "serving" in line:
                return line.split("address=")[1].split()[0]
        raise AssertionError("the service did not come up")

    async def refusal(self) -> str:
        """Its last words, where it must not come up."""
        told = await asyncio.to_thread(self.process.stderr.read)
        assert await asyncio.to_thread(self.process.wait) == 2
        assert "Traceback" not in told
        return told.splitlines()[-1]


async def append_until_gone(address: str, conversation: str, writer: int, number: int, acknowledged: dict) -> int:
    """Appends numbered messages one after another until the service is gone; each is sent again if not answered."""
    async with open_channel(address) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
        while True:
            request = pb.AppendMessagesRequest(
                user_id=f"user-{writer}",
                conversation=conversation,
                request_id=str(uuid.UUID(int=(writer << 64) + number)),
                messages=[cm.ChatMessage(role=cm.ROLE_USER, content=f"{number}")],
            )
            try:
                answer = await stub.AppendMessages(request, timeout=5)
            except AioRpcError:
                return number
            acknowledged[writer, number] = answer.messages[0].sequence
            number += 1


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_what_was_acknowledged_survives_kills_once_and_in_order(tmp_path, backend, request):
    database = {} if backend == "sqlite" else {"CHATBOT_DATABASE_URL": request.getfixturevalue("postgres_url")}
    writers = 4
    acknowledged: dict[tuple[int, int], int] = {}
    conversations: list[str] = []
    numbers = [0] * writers
    for _ in range(KILLS):
        with Process(tmp_path, **database) as service:
            address = await service.address()
            if not conversations:
                async with open_channel(address) as channel:
                    stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
                    for writer in range(writers):
                        request = pb.CreateConversationRequest(user_id=f"user-{writer}", request_id=str(uuid.uuid4()))
                        conversations.append((await stub.CreateConversation(request)).conversation.name)
            goal = len(acknowledged) + 40
            tasks = [
                asyncio.create_task(append_until_gone(address, conversations[w], w, numbers[w], acknowledged))
                for w in range(writers)
            ]
            while len(acknowledged) < goal and not any(task.done() for task in tasks):
                await asyncio.sleep(0.001)
            service.process.send_signal(signal.SIGKILL)
            numbers = await asyncio.gather(*tasks)
    assert len(acknowledged) >= 40 * KILLS
    with Process(tmp_path, **database) as service:
        async with open_channel(await service.address()) as channel:
            stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
            for writer, conversation in enumerate(conversations):
                request = pb.ListMessagesRequest(user_id=f"user-{writer}", conversation=conversation, page_size=1000)
                stored = (await stub.ListMessages(request)).messages
                assert [m.sequence for m in stored] == list(range(1, len(stored) + 1))
                # One message may have become durable without its answer having come back.
                assert [m.content for m in stored] == [f"{n}" for n in range(len(stored))]
                assert len(stored) - numbers[writer] in (0, 1)
                for message in stored[: numbers[writer]]:
                    assert acknowledged[writer, int(message.content)] == message.sequence
            hits = await stub.SearchMessages(pb.SearchMessagesRequest(user_id="user-0", query="7", limit=1))
            assert hits.hits[0].message.content == "7"
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.process.wait) == 0


async def test_a_second_process_on_the_same_folder_is_refused_in_one_sentence(tmp_path):
    settings = MemorySettings(memory_grpc_port=0, data_dir=tmp_path)
    room = MemoryService(settings, embedder=EmbedderThreads(FakeEmbedder()))
    await room.start()
    try:
        with Process(tmp_path) as second:
            told = await second.refusal()
    finally:
        await room.stop()
    assert told.startswith("error: The database ")
    assert "in use by another memory service" in told


async def test_a_wrong_embedder_is_refused_in_one_sentence(tmp_path):
    with Process(tmp_path, CHATBOT_EMBEDDER=str(tmp_path)) as service:
        told = await service.refusal()
    assert told.startswith(f"error: CHATBOT_EMBEDDER={tmp_path}: the folder holds no config.json")


async def test_a_database_that_is_not_there_is_refused_in_one_sentence_without_its_password(tmp_path):
    url = "postgresql://ann:s3cret@127.0.0.1:1/db"
    with Process(tmp_path, CHATBOT_DATABASE_URL=url, CHATBOT_DATABASE_WAIT_SECONDS="0.1") as service:
        told = await service.refusal()
    assert told.startswith("error: CHATBOT_DATABASE_URL: the database db on 127.0.0.1 cannot be used")
    assert "s3cret" not in told


async def test_the_embedders_process_ends_with_a_service_that_is_killed(tmp_path):
    with Process(tmp_path) as service:
        await service.address()
        (child,) = psutil.Process(service.process.pid).children()
        service.process.kill()
        # Killed, the service can tell it nothing: it sees that nobody is there any more.
        await asyncio.to_thread(child.wait)
