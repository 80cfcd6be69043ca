"""Stores to test against, and what to write into them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.memory.conversation import Conversation, ConversationDraft
from services.memory.embedder import FakeEmbedder
from services.memory.message import Append, Appended, Message, MessageDraft, MessageQuery, Role
from services.memory.message_text import embedded_text, searched_words
from services.memory.store import Store, WriteRequest, open_postgres_store, open_sqlite_store
from services.memory.terms import pack_terms
from services.memory.vector import LogStretch, NewVector, Standing
from tests.support.user_logs import standing_of, vectors_after

BACKENDS = ("sqlite", "postgres")


def write(user_id: str = "ann", *, request_id: str | None = None, digest: bytes = b"content") -> WriteRequest:
    return WriteRequest(user_id, request_id or str(uuid.uuid4()), digest)


@dataclass(frozen=True)
class Desk:
    """A store with short words for what tests do all the time."""

    store: Store
    path: Path

    async def conversation(self, user_id: str = "ann", title: str = "") -> Conversation:
        return await self.store.create_conversation(ConversationDraft(title, ""), write(user_id))

    async def say(
        self, conversation_id: str, *texts: str, user_id: str = "ann", request: WriteRequest | None = None
    ) -> Appended:
        drafts = tuple(MessageDraft(Role.USER, text) for text in texts)
        return await self.store.append_messages(Append(conversation_id, drafts), request or write(user_id))

    async def everything(self, conversation_id: str, user_id: str = "ann") -> tuple[Message, ...]:
        query = MessageQuery(conversation_id, 1000, include_superseded=True)
        return (await self.store.list_messages(user_id, query)).messages

    async def standing(self, user_id: str) -> Standing:
        return await standing_of(self.store, user_id)

    async def vectors_after(self, user_id: str, embedder: str, position: int, limit: int) -> LogStretch:
        return await vectors_after(self.store, user_id, embedder, position, limit)

    async def embed_all(self, embedder: FakeEmbedder) -> None:
        while waiting := await self.store.next_unembedded(100):
            rows = embedder.embed_messages([embedded_text(message) for message in waiting])
            vector_of = {
                m.message_id: NewVector(row.astype("<f2").tobytes(), pack_terms(searched_words(m)))
                for m, row in zip(waiting, rows, strict=True)
            }
            await self.store.put_vectors(embedder.id, vector_of, embedder.dimension)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Which database; a test may choose by indirect parameters."""
    return request.param


@pytest.fixture
def open_store(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Awaitable[Store]]:
    """Opens a store on the test's own database; on PostgreSQL as often as one likes."""
    if backend == "sqlite":
        return lambda: open_sqlite_store(tmp_path / "memory.db")
    url = SecretStr(request.getfixturevalue("postgres_url"))
    return lambda: open_postgres_store(url, 6, 10)


@pytest.fixture
async def desk(open_store: Callable[[], Awaitable[Store]], tmp_path: Path) -> AsyncIterator[Desk]:
    store = await open_store()
    try:
        yield Desk(store, tmp_path / "memory.db")
    finally:
        await store.close()


@pytest.fixture
def new_write() -> Callable[..., WriteRequest]:
    return write
