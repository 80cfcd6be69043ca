"""A service that embeds everything anew is killed at random moments: its successors go on from there."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb
from chatbot.v1 import memory_service_pb2_grpc
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.facts import EmbedderFacts
from services.memory.message import MessageQuery
from services.memory.message_text import embedded_text
from services.memory.resource_name import parse_conversation
from services.memory.store import Store, open_postgres_store, open_sqlite_store
from services.memory.vector import UnembeddedMessage
from services.rpc.channel import open_channel
from tests.support.user_logs import vectors_after

SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
SERVICE = Path(__file__).with_name("reindexing_service.py")
BEFORE, AFTER = "before", "after"
USERS = ("ann", "bob", "cid")
EACH = 800
"""Messages of a user: together more than are queued in one transaction."""
AT_ONCE = 16
SECONDS = 60


class Process:
    """A service that runs, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.embedded = 0
        """How many messages its embedder was given."""

    async def said(self, word: str, times: int = 1) -> list[str]:
        """Waits until it has said a word so often, and returns the last line that begins with it."""
        words: list[str] = []
        while times:
            line = await asyncio.wait_for(self._process.stdout.readline(), SECONDS)
            assert line, "the service ended by itself"
            words = line.decode().split()
            self._count(words)
            times -= words[0] == word
        return words

    async def kill(self) -> None:
        self._process.kill()
        for line in (await self._process.stdout.read()).splitlines():
            self._count(line.decode().split())
        await self._process.wait()

    def _count(self, words: list[str]) -> None:
        if words[0] == "embedding":
            self.embedded += int(words[1])


@dataclass
class Database:
    """Where the service keeps what it is told, and how it is opened once no service runs."""

    folder: Path
    url: str | None = None

    @asynccontextmanager
    async def process(self, embedder: str) -> AsyncIterator[Process]:
        """Starts a service, which is killed at the latest where the block ends."""
        environment = {
            **os.environ,
            "PYTHONPATH": f".{os.pathsep}gen",
            "CHATBOT_DATA_DIR": str(self.folder),
            "CHATBOT_DATABASE_URL": self.url or "",
            "CHATBOT_EMBEDDER": embedder,
            "CHATBOT_EMBEDDING_BATCH_SIZE": str(AT_ONCE),
            "CHATBOT_MEMORY_GRPC_PORT": "0",
        }
        process = Process(
            await asyncio.create_subprocess_exec(
                sys.executable, str(SERVICE), env=environment, stdout=asyncio.subprocess.PIPE
            )
        )
        try:
            yield process
        finally:
            await process.kill()

    @asynccontextmanager
    async def serving(self, embedder: str) -> AsyncIterator[tuple[Process, memory_service_pb2_grpc.MemoryServiceStub]]:
        """Starts a service, and lends it with a stub once it is ready."""
        async with self.process(embedder) as process:
            _, port = await process.said("port")
            await process.said("ready")
            async with open_channel(f"127.0.0.1:{port}") as channel:
                yield process, memory_service_pb2_grpc.MemoryServiceStub(channel)

    async def store(self) -> Store:
        if self.url is None:
            return await open_sqlite_store(self.folder / "memory.db")
        return await open_postgres_store(SecretStr(self.url), 4, 30)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Database:
    return Database(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else None)


class Log:
    """What was acknowledged: texts by user, in order, each with a word that no other has."""

    def __init__(self) -> None:
        self.conversation_of: dict[str, str] = {}
        self.texts_of: dict[str, list[str]] = {user_id: [] for user_id in USERS}

    @property
    def total(self) -> int:
        return sum(map(len, self.texts_of.values()))

    async def append(self, stub, user_id: str, count: int) -> None:
        if user_id not in self.conversation_of:
            made = await stub.CreateConversation(
                pb.CreateConversationRequest(user_id=user_id, request_id=str(uuid.uuid4()))
            )
            self.conversation_of[user_id] = made.conversation.name
        first = len(self.texts_of[user_id])
        texts = [f"remember word{number}of{user_id} well" for number in range(first, first + count)]
        await stub.AppendMessages(
            pb.AppendMessagesRequest(
                user_id=user_id,
                conversation=self.conversation_of[user_id],
                messages=[cm.ChatMessage(role=cm.ROLE_USER, content=text) for text in texts],
                request_id=str(uuid.uuid4()),
            )
        )
        self.texts_of[user_id] += texts

    async def check_search(self, stub, chance: random.Random) -> None:
        """Checks that messages of before, some of which wait, and the newest one are found."""
        for user_id in USERS:
            for text in (chance.choice(self.texts_of[user_id]), self.texts_of[user_id][-1]):
                found = await stub.SearchMessages(pb.SearchMessagesRequest(user_id=user_id, query=text.split()[1]))
                assert found.hits[0].message.content == text, SEED


async def progress(stub) -> pb.EmbeddingStatus:
    return (await stub.GetStatus(pb.GetStatusRequest())).embedding


async def until_embedded(stub) -> pb.EmbeddingStatus:
    async with asyncio.timeout(SECONDS):
        while (found := await progress(stub)).pending_message_count:
            await asyncio.sleep(0.01)
    return found


async def test_kills_while_everything_is_embedded_anew_cost_no_progress_and_no_message(database):
    chance = random.Random(SEED)  # noqa: S311 (no secret)
    log = Log()
    async with database.serving(BEFORE) as (_, stub):
        for user_id in USERS:
            for _ in range(8):
                await log.append(stub, user_id, EACH // 8)
        await until_embedded(stub)
    # Before it serves, while it queues what is to be embedded anew.
    async with database.process(AFTER) as process:
        await process.said("port")
        await asyncio.sleep(chance.uniform(0, 0.2))
    embedded, kills, seen = process.embedded, 1, 0
    for _ in range(3 if database.url is None else 2):
        async with database.serving(AFTER) as (process, stub):
            before = await progress(stub)
            assert before.embedded_message_count >= seen, SEED
            assert before.embedded_message_count + before.pending_message_count == log.total, SEED
            await log.append(stub, chance.choice(USERS), 3)
            await log.check_search(stub, chance)
            await process.said("embedding", chance.randint(1, 12))
            await log.append(stub, chance.choice(USERS), 3)
            now = await progress(stub)
            assert now.pending_message_count, "it was through before it was killed: give it more"
            seen = now.embedded_message_count
            await asyncio.sleep(chance.uniform(0, 0.02))
        embedded += process.embedded
        kills += 1
    async with database.serving(AFTER) as (process, stub):
        assert (await progress(stub)).embedded_message_count >= seen, SEED
        done = await until_embedded(stub)
        assert [(one.embedder, one.count) for one in done.vectors] == [(done.embedder, log.total)], SEED
        await log.check_search(stub, chance)
    embedded += process.embedded
    # Each kill wastes what was under way and not more.
    assert log.total <= embedded <= log.total + kills * AT_ONCE, SEED
    store = await database.store()
    try:
        await check_stored(store, log)
    finally:
        await store.close()


async def check_stored(store: Store, log: Log) -> None:
    """Checks that what was acknowledged is there once and in order, each with the new embedder's vector of it."""
    embedder = FakeEmbedder(id=AFTER)
    assert await store.database_faults() == [], SEED
    for user_id in USERS:
        assert await store.user_faults(user_id, EmbedderFacts.of(embedder).id, embedder.dimension) == [], SEED
        conversation_id = parse_conversation("conversation", log.conversation_of[user_id])
        page = await store.list_messages(user_id, MessageQuery(conversation_id, 10_000))
        assert [message.content for message in page.messages] == log.texts_of[user_id], SEED
        rows = await vectors_after(store, user_id, EmbedderFacts.of(embedder).id, 0, 10_000)
        order = np.argsort(rows.sequences)
        assert rows.sequences[order].tolist() == [message.sequence for message in page.messages], SEED
        wanted = embedder.embed_messages(
            [
                embedded_text(UnembeddedMessage(0, user_id, message.content, None, message.create_ns))
                for message in page.messages
            ]
        )
        assert np.array_equal(rows.vectors[order], wanted.astype("<f2").astype(np.float32)), SEED
