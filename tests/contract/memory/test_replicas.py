"""Two memory services on one PostgreSQL database: each serves every user, and sees at once what the other did."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb
from services.memory.embedder import FakeEmbedder, load_embedder


class StuckEmbedder(FakeEmbedder):
    """Never gets to embedding messages: what its replica takes waits for as long as that lives."""

    def embed_messages(self, texts):
        raise RuntimeError("no embedding here")


@pytest.fixture
def pair(serve, postgres_url):
    """Starts two services on the database, with embedders of the test's choice."""

    @asynccontextmanager
    async def start(first=None, second=None):
        url = SecretStr(postgres_url)
        async with serve(database_url=url, embedder=first) as one, serve(database_url=url, embedder=second) as two:
            two.user_id = one.user_id
            yield one, two

    return start


async def contents(client, query, **fields):
    return {hit.message.content for hit in await client.search(query, **fields)}


async def test_what_one_stored_the_other_lists_and_finds_at_once(pair):
    async with pair() as (one, two):
        talk = await one.create("Сад")
        for number in range(20):
            writer, reader = (one, two) if number % 2 else (two, one)
            await writer.append(talk.name, f"tomato {number}")
            assert [m.content for m in await reader.list(talk.name)] == [f"tomato {n}" for n in range(number + 1)]
            assert f"tomato {number}" in await contents(reader, f"tomato {number}", limit=100)
            assert len(await contents(reader, "tomato", limit=100)) == number + 1


async def test_what_one_deleted_the_other_never_finds_again(pair):
    async with pair() as (one, two):
        for _ in range(5):
            kept, gone = await one.create(), await two.create()
            await one.append(kept.name, "tomato stays")
            await two.append(gone.name, "tomato goes")
            for client in (one, two):
                assert await contents(client, "tomato") == {"tomato stays", "tomato goes"}
            request = pb.DeleteConversationRequest(
                user_id=one.user_id,
                conversation=gone.name,
                request_id=str(uuid.uuid4()),
            )
            await one.stub.DeleteConversation(request)
            assert await contents(two, "tomato") == {"tomato stays"}
            await two.stub.DeleteUserData(pb.DeleteUserDataRequest(user_id=one.user_id, request_id=str(uuid.uuid4())))
            assert await contents(one, "tomato") == set()
            assert await contents(two, "tomato") == set()


async def test_what_one_superseded_the_other_finds_no_more(pair):
    async with pair() as (one, two):
        talk = await one.create()
        await one.append(talk.name, "tomato question", "tomato answer")
        assert await contents(two, "tomato") == {"tomato question", "tomato answer"}
        await one.append(
            talk.name, cm.ChatMessage(role=cm.ROLE_ASSISTANT, content="violin answer"), supersede_from_sequence=2
        )
        assert await contents(two, "tomato", limit=2) == {"tomato question", "violin answer"}


async def test_a_page_token_of_one_is_good_at_the_other(pair):
    async with pair() as (one, two):
        talk = await one.create()
        await one.append(talk.name, "one", "two")
        fields = {"user_id": one.user_id, "conversation": talk.name, "page_size": 1}
        token = (await one.stub.ListMessages(pb.ListMessagesRequest(**fields))).next_page_token
        page = await two.stub.ListMessages(pb.ListMessagesRequest(**fields, page_token=token))
        assert [m.content for m in page.messages] == ["two"]


async def test_one_that_cannot_embed_leaves_it_to_the_other_s_searches(pair):
    async with pair(first=StuckEmbedder()) as (one, two):
        talk = await one.create()
        await one.append(talk.name, "tomato")
        assert await contents(two, "tomato") == {"tomato"}


async def test_what_a_dead_one_was_to_embed_is_embedded_by_the_other_unasked(pair, monkeypatch):
    monkeypatch.setattr("services.memory.housekeeping._LOOK_SECONDS", 0.02)
    async with pair(first=StuckEmbedder()) as (one, two):
        talk = await one.create()
        await one.append(talk.name, "tomato")
        store = two.room._servicer.rooms.store
        await one.room.stop()
        async with asyncio.timeout(30):
            while await store.count_unembedded():
                await asyncio.sleep(0.01)


async def test_two_with_the_real_embedder_find_each_other_s_messages_by_meaning(pair):
    first, second = (load_embedder("embedded", 1) for _ in range(2))
    async with pair(first, second) as (one, two):
        talk = await one.create()
        await one.append(talk.name, "My sister keeps two cats.", "The train to Oslo leaves at nine.")
        await two.append(talk.name, "We grow tomatoes behind the house.")
        for client in (one, two):
            (best,) = await client.search("Who has pets?", limit=1)
            assert best.message.content == "My sister keeps two cats."
            (best,) = await client.search("vegetable garden", limit=1)
            assert best.message.content == "We grow tomatoes behind the house."
