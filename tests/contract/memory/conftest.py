"""A real memory service on a real port, with a fake embedder, and a client's stub."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb
from chatbot.v1 import memory_service_pb2_grpc
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.channel import open_channel
from services.rpc.errors import STATUS_DETAILS_KEY
from services.rpc.server import Server


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Client:
    """The stub, with short words for what tests do all the time."""

    stub: memory_service_pb2_grpc.MemoryServiceAsyncStub
    embedder: FakeEmbedder
    room: MemoryService
    user_id: str = field(default_factory=lambda: f"user-{uuid.uuid4()}")

    async def create(self, title: str = "", system_prompt: str = "", **fields) -> pb.Conversation:
        request = pb.CreateConversationRequest(
            user_id=fields.pop("user_id", self.user_id),
            conversation=pb.Conversation(title=title, system_prompt=system_prompt),
            request_id=fields.pop("request_id", new_id()),
        )
        return (await self.stub.CreateConversation(request)).conversation

    async def append(self, conversation: str, *messages: str | cm.ChatMessage, **fields) -> pb.AppendMessagesResponse:
        return await self.stub.AppendMessages(
            pb.AppendMessagesRequest(
                user_id=fields.pop("user_id", self.user_id),
                conversation=conversation,
                messages=[cm.ChatMessage(role=cm.ROLE_USER, content=m) if isinstance(m, str) else m for m in messages],
                request_id=fields.pop("request_id", new_id()),
                **fields,
            )
        )

    async def list(self, conversation: str, **fields) -> list[cm.ChatMessage]:
        """All pages of a list."""
        found: list[cm.ChatMessage] = []
        request = pb.ListMessagesRequest(
            user_id=fields.pop("user_id", self.user_id), conversation=conversation, **fields
        )
        while True:
            page = await self.stub.ListMessages(request)
            found += page.messages
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def search(self, query: str, **fields) -> list[pb.SearchHit]:
        request = pb.SearchMessagesRequest(user_id=fields.pop("user_id", self.user_id), query=query, **fields)
        return list((await self.stub.SearchMessages(request)).hits)


@dataclass(frozen=True)
class Refusal:
    """What a refused call told."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    fields: tuple[str, ...]
    retry: bool

    @classmethod
    def of(cls, failure: AioRpcError) -> Refusal:
        packed = dict(failure.trailing_metadata() or ())[STATUS_DETAILS_KEY]
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        has_retry = False
        for detail in status_pb2.Status.FromString(packed).details:
            detail.Unpack(info)
            detail.Unpack(bad)
            has_retry = detail.Unpack(retry) or has_retry
        assert info.domain == "chatbot"
        return cls(
            failure.code().name,
            info.reason,
            failure.details() or "",
            dict(info.metadata),
            tuple(v.field for v in bad.field_violations),
            has_retry,
        )


async def refusal(call) -> Refusal:
    """Awaits a call that must be refused."""
    with pytest.raises(AioRpcError) as failure:
        await call
    return Refusal.of(failure.value)


@asynccontextmanager
async def serving(folder: Path, embedder: FakeEmbedder | None = None, **settings) -> AsyncIterator[Client]:
    """A memory service on a folder."""
    chosen = MemorySettings(**{"memory_grpc_port": 0, "data_dir": folder, **settings})
    fake = embedder or FakeEmbedder()
    room = MemoryService(chosen, embedder=EmbedderThreads(fake))
    server = Server(room, chosen)
    await server.bind()
    try:
        await server.start()
        async with open_channel(f"127.0.0.1:{server.port}") as channel:
            yield Client(memory_service_pb2_grpc.MemoryServiceStub(channel), fake, room)
    finally:
        await server.stop(0)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as ready:
        yield ready


@pytest.fixture
def serve(tmp_path: Path):
    """What starts a service on the test's folder, for an `async with`."""
    return lambda **kwargs: serving(tmp_path, **kwargs)


@pytest.fixture
def refused():
    """Awaits a call that must be refused, and returns what it told."""
    return refusal
