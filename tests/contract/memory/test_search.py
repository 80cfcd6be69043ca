"""Search at the door, with a fake embedder."""

from __future__ import annotations

import asyncio
import threading

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb
from services.memory.embedder import FakeEmbedder


class HeldEmbedder(FakeEmbedder):
    """Embeds messages only once it is let."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.let = threading.Event()

    def embed_messages(self, texts):
        self.let.wait()
        return super().embed_messages(texts)


async def test_a_search_finds_what_was_acknowledged_before_it(client):
    talk = await client.create()
    for number in range(10):
        await client.append(talk.name, f"unmistakable{number}")
        (hit,) = await client.search(f"unmistakable{number}", limit=1)
        assert hit.message.content == f"unmistakable{number}"
        assert hit.similarity == pytest.approx(1, abs=1e-3)
        assert hit.score == hit.similarity


async def test_hits_are_ordered_and_a_tie_goes_to_the_newest(client):
    talk = await client.create()
    await client.append(talk.name, "помидоры растут", "поезд ушёл", "помидоры растут", "помидоры зреют")
    hits = await client.search("Помидоры растут")
    assert [hit.message.sequence for hit in hits] == [3, 1, 4, 2]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


async def test_each_filter_narrows(client):
    one, two = await client.create(), await client.create()
    await client.append(
        one.name,
        cm.ChatMessage(role=cm.ROLE_USER, content="tomatoes", author="Иван", create_time=Timestamp(seconds=10)),
        cm.ChatMessage(role=cm.ROLE_ASSISTANT, content="tomatoes", create_time=Timestamp(seconds=20)),
    )
    await client.append(two.name, "tomatoes")

    async def found(**fields):
        return sorted(
            (hit.message.name.split("/")[1] == two.name.split("/")[1], hit.message.sequence)
            for hit in await client.search("tomatoes", **fields)
        )

    assert await found() == [(False, 1), (False, 2), (True, 1)]
    assert await found(conversation=one.name) == [(False, 1), (False, 2)]
    assert await found(filter=pb.MessageFilter(roles=[cm.ROLE_ASSISTANT])) == [(False, 2)]
    assert await found(filter=pb.MessageFilter(authors=["Иван"])) == [(False, 1)]
    assert await found(filter=pb.MessageFilter(start_time=Timestamp(seconds=11))) == [(False, 2), (True, 1)]
    assert await found(filter=pb.MessageFilter(end_time=Timestamp(seconds=20))) == [(False, 1)]
    assert await found(exclude=[pb.MessageRange(conversation=one.name, start_sequence=2)]) == [(False, 1), (True, 1)]
    assert await found(exclude=[pb.MessageRange(conversation=one.name, start_sequence=1, end_sequence=1)]) == [
        (False, 2),
        (True, 1),
    ]


async def test_nobody_finds_what_is_another_users(client):
    talk = await client.create()
    await client.append(talk.name, "secret")
    assert await client.search("secret", user_id="bob") == []


async def test_an_empty_reply_is_not_found_and_does_no_harm(client):
    talk = await client.create()
    await client.append(
        talk.name,
        "tomatoes",
        cm.ChatMessage(role=cm.ROLE_ASSISTANT, content="", finish_reason=cm.FINISH_REASON_EOS),
    )
    assert [hit.message.sequence for hit in await client.search("tomatoes")] == [1]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": "a\0"}, "query"),
        ({"limit": -1}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"conversation": "x"}, "conversation"),
        ({"exclude": [pb.MessageRange(conversation="x")]}, "exclude[0].conversation"),
        (
            {"exclude": [pb.MessageRange(conversation="conversations/x", start_sequence=2, end_sequence=1)]},
            "exclude[0].end_sequence",
        ),
        ({"filter": pb.MessageFilter(roles=[7])}, "filter.roles[0]"),
    ],
)
async def test_a_wrong_search_is_refused_by_its_field(client, refused, fields, wrong):
    told = await refused(client.search(**{"query": "x", **fields}))
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", (wrong,))


async def test_messages_that_were_not_embedded_before_the_service_stopped_are_found_after(serve):
    held = HeldEmbedder()
    async with serve(embedder=held) as client:
        talk = await client.create()
        await client.append(talk.name, *(f"word{i}" for i in range(100)))
        user = client.user_id
        held.let.set()
    async with serve() as client:
        (hit,) = await client.search("word57", limit=1, user_id=user)
        assert hit.message.content == "word57"


async def test_another_embedder_finds_everything_once_it_has_caught_up(serve):
    async with serve() as client:
        talk = await client.create()
        await client.append(talk.name, "tomatoes", "trains")
        await client.search("tomatoes")
        user = client.user_id
    other = FakeEmbedder(dimension=32, id="other")
    async with serve(embedder=other) as client:
        await client.append(talk.name, "last", user_id=user)
        while len(hits := await client.search("tomatoes", user_id=user)) < 3:
            await asyncio.sleep(0)
        assert hits[0].message.content == "tomatoes"
        assert sorted(text for batch in other.batches for text in batch) == ["last", "tomatoes", "trains"]
