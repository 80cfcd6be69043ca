"""Searches of a database of very many users, whose indexes together are larger than the memory that is set for them."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

from bench.memory.client import Client, quantiles, serving
from bench.memory.searches import search_all
from bench.memory.service import PartlyRandomEmbedder
from bench.memory.workload import Workload, texts
from bench.result import Observation
from services.memory.conversation import ConversationDraft, ImportedConversation, ImportedMessage
from services.memory.database import DATABASE_FILE
from services.memory.embedder.async_embedder import Kind
from services.memory.embedder.threads import EmbedderThreads
from services.memory.message import MessageDraft, Role
from services.memory.message_text import searched_words
from services.memory.store import open_sqlite_store
from services.memory.terms import pack_terms
from services.memory.vector import NewVector, UnembeddedMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from services.memory.embedder import Embedder
    from services.memory.embedder.async_embedder import AsyncEmbedder
    from services.memory.store import Store

_USERS_AT_ONCE = 500
_VECTORS_AT_ONCE = 5_000
_MIB = 1024 * 1024
_SAID_NS = 1_700_000_000_000_000_000


async def many_users(
    folder: Path, model: Embedder, workload: Workload, tell: Callable[[str], None]
) -> AsyncIterator[Observation]:
    """Stores messages of many users with random vectors, and yields what searches of all of them see."""
    data = folder / "many"
    data.mkdir()
    count = workload.many_users * workload.messages_each
    size = f"{count:,} messages of {workload.many_users:,} users"
    embedder = PartlyRandomEmbedder(EmbedderThreads(model), list(Kind))
    began = time.perf_counter()
    store = await open_sqlite_store(data / DATABASE_FILE)
    try:
        for first in range(0, workload.many_users, _USERS_AT_ONCE):
            users = range(first, min(first + _USERS_AT_ONCE, workload.many_users))
            tell(f"storing messages of users {first:,} to {users[-1]:,}")
            await _store(store, embedder, users, workload.messages_each)
    finally:
        await embedder.close()
        await store.close()
    stored = time.perf_counter()
    # The system would write a gigabyte to the disk while the first searches are timed.
    await asyncio.to_thread(os.sync)
    yield Observation(size, "stored", "messages/s", count / (stored - began))
    user_ids = [_user_id(number) for number in range(workload.many_users)]
    async with serving(data, messages="random") as client:
        await client.search("nobody", "first")
        # Hardly any of those who are searched first has been searched before.
        async for one in _rounds(client, user_ids, workload, f"search, {size}", tell):
            yield one
        # Every user is searched once, so that the indexes would be held all at once if that were allowed.
        tell("searches of every user")
        began = time.perf_counter()
        chance = random.Random(7)  # noqa: S311 (not a secret)
        before = client.resident_bytes()
        for user_id in chance.sample(user_ids, len(user_ids)):
            await client.search(user_id, "a")
        yield Observation(size, "searches_of_all_users", "searches/s", len(user_ids) / (time.perf_counter() - began))
        yield Observation(size, "resident_before_all_were_searched", "MiB", before / _MIB)
        yield Observation(size, "resident_after_all_were_searched", "MiB", client.resident_bytes() / _MIB)
        async for one in _rounds(client, user_ids, workload, f"search once more, {size}", tell):
            yield one


async def _rounds(
    client: Client, user_ids: Sequence[str], workload: Workload, measure: str, tell: Callable[[str], None]
) -> AsyncIterator[Observation]:
    """Yields what searches of users at random see, by one caller and by several."""
    for number in range(workload.rounds):
        tell(f"{measure}, round {number + 1} of {workload.rounds}")
        for callers, name in ((1, "1 caller"), (workload.callers, f"{workload.callers} callers")):
            times = await search_all(client, user_ids, callers, workload.searches)
            for one in quantiles(f"{measure}, {name}", times):
                yield one


async def _store(store: Store, embedder: AsyncEmbedder, users: range, messages_each: int) -> None:
    said = texts()

    def read() -> Iterator[tuple[str, ImportedConversation]]:
        for user in users:
            drafts = (
                MessageDraft(Role.USER, said[(user * messages_each + i) % len(said)], None, _SAID_NS)
                for i in range(messages_each)
            )
            messages = tuple(ImportedMessage(draft, None, superseded=False) for draft in drafts)
            yield _user_id(user), ImportedConversation(ConversationDraft("", ""), None, None, 1, messages)

    await store.import_users(read, "")
    terms_of: dict[str, bytes] = {}
    while waiting := await store.next_unembedded(_VECTORS_AT_ONCE):
        rows = await embedder.embed_messages([one.content for one in waiting])
        vector_of = {
            one.message_id: NewVector(row.tobytes(), _terms(one, terms_of))
            for one, row in zip(waiting, rows.astype("<f2"), strict=True)
        }
        await store.put_vectors(embedder.facts.id, vector_of, rows.shape[1])


def _terms(message: UnembeddedMessage, terms_of: dict[str, bytes]) -> bytes:
    if message.content not in terms_of:
        terms_of[message.content] = pack_terms(searched_words(message))
    return terms_of[message.content]


def _user_id(number: int) -> str:
    return f"user{number}"
