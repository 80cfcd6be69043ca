"""What operators see of the service: `GetStatus`, and what it counts for Prometheus."""

from __future__ import annotations

import threading

import pytest

from chatbot.v1 import memory_service_pb2 as pb
from services.memory.embedder import EmbedderAway, FakeEmbedder
from services.rpc.metrics import REGISTRY

WORDS = ("The train leaves at nine.", "I grow tomatoes on my balcony.", "My sister plays the violin.")


class HeldEmbedder(FakeEmbedder):
    """Embeds messages only while it is let."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.let = threading.Event()

    def embed_messages(self, texts):
        self.let.wait(60)
        return super().embed_messages(texts)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def status(client) -> pb.GetStatusResponse:
    return await client.stub.GetStatus(pb.GetStatusRequest())


async def until_embedded(client) -> pb.GetStatusResponse:
    while (found := await status(client)).embedding.pending_message_count:
        pass
    return found


async def test_an_empty_service_tells_its_embedder_and_zeros(client):
    found = await status(client)
    assert found.embedding.embedder.startswith("fake/")
    assert found.embedding.dimension == 64
    assert found.embedding.embedded_message_count == found.embedding.pending_message_count == 0
    assert found.database.message_count == 0
    assert found.database.database_bytes > 0
    assert found.index_cache == pb.IndexCacheStatus(capacity_bytes=512 * 1024 * 1024)


async def test_what_was_said_is_counted_and_searched_indexes_are_seen(client):
    talk = (await client.create("title")).name
    await client.append(talk, *WORDS)
    await client.search("tomatoes")
    found = await until_embedded(client)
    assert found.database.user_count == found.database.conversation_count == 1
    assert found.database.message_count == found.embedding.embedded_message_count == 3
    assert [vectors.count for vectors in found.embedding.vectors] == [3]
    assert found.index_cache.user_count == 1
    assert 0 < found.index_cache.size_bytes == sample("chatbot_memory_index_cache_bytes")


async def test_what_waits_is_pending_until_it_is_embedded(serve):
    embedder = HeldEmbedder()
    async with serve(embedder=embedder) as client:
        await client.append((await client.create()).name, *WORDS)
        found = await status(client)
        assert (found.embedding.pending_message_count, found.embedding.embedded_message_count) == (3, 0)
        embedder.let.set()
        assert (await until_embedded(client)).embedding.embedded_message_count == 3


async def test_an_embedder_that_is_away_is_told_with_its_reason(serve):
    class Away(FakeEmbedder):
        def embed_messages(self, texts):
            raise EmbedderAway("The embedder has gone fishing.")

    async with serve(embedder=Away()) as client:
        await client.append((await client.create()).name, *WORDS)
        while not (found := await status(client)).embedding.problem:
            pass
        assert found.embedding.problem == "The embedder has gone fishing."
        newest = "Tomatoes again."
        await client.append((await client.create()).name, newest)
        assert {hit.message.content for hit in await client.search("tomatoes", limit=2)} == {newest, WORDS[1]}
        told = (await status(client)).embedding
        assert (told.pending_message_count, told.embedded_message_count, list(told.vectors)) == (4, 0, [])


@pytest.mark.parametrize("stopped_midway", [False, True])
async def test_another_embedder_takes_over_in_the_background_also_after_a_stop_midway(serve, stopped_midway):
    async with serve(embedding_batch_size=1) as client:
        talk = (await client.create()).name
        await client.append(talk, *WORDS)
        await client.search("tomatoes")
        user_id = client.user_id
    if stopped_midway:
        embedder = HeldEmbedder(dimension=32, id="other")
        async with serve(embedder=embedder, embedding_batch_size=1) as client:
            assert (await status(client)).embedding.pending_message_count == 3
            embedder.let.set()
            while (await status(client)).embedding.embedded_message_count == 0:
                pass
    async with serve(embedder=FakeEmbedder(dimension=32, id="other"), embedding_batch_size=1) as client:
        client.user_id = user_id
        found = await until_embedded(client)
        assert found.embedding.embedder.startswith("other/")
        assert [vectors.embedder for vectors in found.embedding.vectors] == [found.embedding.embedder]
        hits = await client.search("tomatoes")
        assert hits[0].message.content == WORDS[1]
        assert len(hits) == 3


async def test_while_messages_wait_for_another_embedder_they_are_found_by_their_words(serve):
    async with serve() as client:
        await client.append((await client.create()).name, *WORDS)
        await client.search("tomatoes")
        user_id = client.user_id
    embedder = HeldEmbedder(dimension=32, id="other")
    async with serve(embedder=embedder) as client:
        client.user_id = user_id
        assert (await status(client)).embedding.embedded_message_count == 0
        hits = await client.search("tomatoes")
        assert hits[0].message.content == WORDS[1]
        assert {(hit.similarity, hit.dense) for hit in hits} == {(0.0, 0.0)}
        embedder.let.set()
        await until_embedded(client)
        hits = await client.search("tomatoes")
        assert (hits[0].message.content, len(hits)) == (WORDS[1], 3)
        assert hits[0].similarity > 0 < hits[0].dense


async def test_a_search_is_counted_part_by_part_and_what_it_went_without(serve):
    class QueriesFail(HeldEmbedder):
        def embed_queries(self, texts):
            raise EmbedderAway("It is away.")

    def counted() -> dict[str, float]:
        parts = ("embed", "settle", "index", "rank", "fetch")
        searched = {part: sample("chatbot_memory_search_seconds_count", part=part) for part in parts}
        wants = ("meaning", "newest")
        return searched | {what: sample("chatbot_memory_searches_without_total", what=what) for what in wants}

    async def counted_by_a_search(*found: str) -> set[str]:
        before = counted()
        hits = await client.search("tomatoes")
        assert [(hit.message.content, hit.similarity) for hit in hits[:1]] == [(text, 0.0) for text in found]
        after = counted()
        assert {after[what] - before[what] for what in after} <= {0, 1}
        return {what for what in after if after[what] > before[what]}

    embedder = QueriesFail()
    async with serve(embedder=embedder, search_wait_seconds=0.05) as client:
        await client.append((await client.create()).name, *WORDS)
        assert await counted_by_a_search() == {"embed", "settle", "index", "meaning", "newest"}
        embedder.let.set()
        await until_embedded(client)
        assert await counted_by_a_search(WORDS[1]) == {"embed", "index", "rank", "fetch", "meaning"}
        assert await counted_by_a_search(WORDS[1]) == {"embed", "rank", "fetch", "meaning"}


async def test_looking_an_index_up_is_counted_as_what_it_was(client):
    def lookups() -> list[float]:
        results = ("miss", "hit", "stale")
        return [sample("chatbot_memory_index_cache_lookups_total", result=result) for result in results]

    embedded = sample("chatbot_memory_messages_embedded_total")
    talk = (await client.create()).name
    await client.append(talk, *WORDS)
    started = lookups()
    await client.search("tomatoes")
    await client.search("tomatoes")
    assert [after - before for after, before in zip(lookups(), started, strict=True)] == [1, 1, 0]
    assert sample("chatbot_memory_messages_embedded_total") == embedded + 3
