"""How long a search waits for its user's newest messages, and that it leaves nothing behind where it fails."""

from __future__ import annotations

import asyncio

import pytest

from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.index_cache import IndexCache
from services.memory.search import Searcher, SearchQuery
from services.rpc.errors import ShuttingDown


class RecordingQueue:
    """Notes how long it was to wait."""

    def __init__(self):
        self.waits: list[float] = []

    async def settle(self, user_id: str, up_to: int, seconds: float) -> bool:
        self.waits.append(seconds)
        return False


@pytest.mark.parametrize(("time_left", "wait"), [(None, 5.0), (60.0, 5.0), (4.0, 2.0)])
async def test_a_search_waits_as_set_but_at_most_half_of_its_callers_time(desk, time_left, wait):
    embedder = FakeEmbedder()
    talk = await desk.conversation()
    await desk.say(talk.id, "tomatoes")
    await desk.embed_all(embedder)
    await desk.say(talk.id, "tomatoes again, not embedded yet")
    thread, queue = EmbedderThreads(embedder, 8), RecordingQueue()
    searcher = Searcher(desk.store, thread, queue, IndexCache(desk.store, "fake", 64, 1 << 20), 5.0)
    hits = await searcher.search("ann", SearchQuery("tomatoes", 10), time_left)
    await thread.close()
    assert queue.waits == [wait]
    assert [hit.message.sequence for hit in hits] == [1]


async def test_a_user_all_of_whose_messages_are_embedded_waits_for_nobody(desk):
    embedder = FakeEmbedder()
    talk = await desk.conversation()
    await desk.say(talk.id, "tomatoes")
    await desk.embed_all(embedder)
    bobs = await desk.conversation("bob")
    await desk.say(bobs.id, "tomatoes, not embedded yet", user_id="bob")
    thread, queue = EmbedderThreads(embedder, 8), RecordingQueue()
    searcher = Searcher(desk.store, thread, queue, IndexCache(desk.store, "fake", 64, 1 << 20), 5.0)
    (hit,) = await searcher.search("ann", SearchQuery("tomatoes", 10))
    await thread.close()
    assert queue.waits == []
    assert hit.message.content == "tomatoes"


async def test_a_search_that_cannot_embed_leaves_nothing_loading_behind(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, "tomatoes")
    await desk.embed_all(FakeEmbedder())
    thread, queue = EmbedderThreads(FakeEmbedder(), 8), RecordingQueue()
    searcher = Searcher(desk.store, thread, queue, IndexCache(desk.store, "fake", 64, 1 << 20), 5.0)
    await thread.close()
    tasks = asyncio.all_tasks()
    with pytest.raises(ShuttingDown):
        await searcher.search("ann", SearchQuery("tomatoes", 10))
    assert asyncio.all_tasks() == tasks
