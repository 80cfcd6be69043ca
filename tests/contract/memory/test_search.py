"""Search at the door, with a fake embedder."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid

import pytest
from google.protobuf.duration_pb2 import Duration
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


class AlikeEmbedder(FakeEmbedder):
    """All texts mean the same: their dates, which are embedded with them, tell nothing."""

    def _embed(self, texts):
        return super()._embed(["the same"] * len(texts))


class EnglishEmbedder(FakeEmbedder):
    """Was not made for Russian."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.reads_russian = False


async def conversations(client):
    answer = await client.stub.ListConversations(pb.ListConversationsRequest(user_id=client.user_id))
    for conversation in answer.conversations:
        yield conversation


async def test_a_search_finds_what_was_acknowledged_before_it(client):
    talk = await client.create()
    for number in range(10):
        await client.append(talk.name, f"unmistakable{number}")
        (hit,) = await client.search(f"unmistakable{number}", limit=1)
        assert hit.message.content == f"unmistakable{number}"
        assert hit.word_share == pytest.approx(1)
        assert hit.score == pytest.approx(hit.dense + hit.lexical + hit.prior)


async def test_a_search_tells_which_similarity_is_close_on_its_embedders_scale(serve):
    told = {}
    for name in ("fake", "multilingual-e5-small"):
        async with serve(embedder=FakeEmbedder(id=name)) as client:
            request = pb.SearchMessagesRequest(user_id=client.user_id, query="tomatoes")
            told[name] = (await client.stub.SearchMessages(request)).close_similarity
    assert 0 < told["fake"] < told["multilingual-e5-small"] < 1


async def test_hits_are_ordered_and_a_tie_goes_to_the_newest(client):
    talk = await client.create()
    await client.append(talk.name, "помидоры растут", "поезд ушёл", "помидоры зреют", "день прошёл")
    hits = await client.search("Помидоры растут")
    assert [hit.message.sequence for hit in hits][:2] == [1, 3]
    for _ in range(3):
        await client.append((await client.create()).name, "дом стоит")
    tied = [hit.message.name for hit in await client.search("Дом") if hit.message.content == "дом стоит"]
    newest_first = [f"{c.name}/messages/1" async for c in conversations(client) if c.name != talk.name]
    assert tied == newest_first
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("В каких городах бывала Анна?", "Анна была в городе Казань"),
        ("painting", "She painted a horse"),
        ('horse" OR boat*', "She painted a horse"),
        ("ёлки", "Елка стоит в углу"),
    ],
)
async def test_a_word_is_found_in_any_form_and_operators_are_text(client, query, found):
    talk = await client.create()
    await client.append(
        talk.name, "Анна была в городе Казань", "She painted a horse", "Елка стоит в углу", "Nothing of it", "Ничего"
    )
    hits = await client.search(query)
    assert hits[0].message.content == found
    assert hits[0].lexical > hits[1].lexical


async def test_a_deleted_conversations_words_are_gone_at_once(client):
    kept, gone = await client.create(), await client.create()
    await client.append(kept.name, "red boat", "green train")
    await client.append(gone.name, "boat", "boat", "boat")
    before = (await client.search("boat", conversation=kept.name))[0].lexical
    await client.stub.DeleteConversation(
        pb.DeleteConversationRequest(user_id=client.user_id, conversation=gone.name, request_id=str(uuid.uuid4()))
    )
    hits = await client.search("boat")
    assert [hit.message.content for hit in hits] == ["red boat", "green train"]
    # The word is rare now: it was not while the others had it.
    assert hits[0].lexical != pytest.approx(before)


async def test_one_users_words_do_not_move_anothers_scores(client):
    talk = await client.create()
    await client.append(talk.name, "red boat", "green train")
    before = [(hit.message.name, hit.score) for hit in await client.search("boat")]
    others = await client.create(user_id="other")
    await client.append(others.name, *["boat"] * 50, user_id="other")
    assert [(hit.message.name, hit.score) for hit in await client.search("boat")] == before


async def test_who_the_query_names_comes_first(client):
    talk = await client.create()
    said = [cm.ChatMessage(role=cm.ROLE_USER, content="I went there too", author=name) for name in ("Анна", "Игорь")]
    await client.append(talk.name, *said)
    assert (await client.search("Where did I go?"))[0].message.author == "Игорь"
    assert (await client.search("Что делала Анна?"))[0].message.author == "Анна"
    assert (await client.search("Что делал Игорь?"))[0].message.author == "Игорь"


async def test_neighbours_come_with_a_hit_whatever_the_filter(client):
    talk = await client.create()
    await client.append(talk.name, "one", "two", "boat", "four", "five")
    (hit,) = await client.search(
        "boat", limit=1, neighbours=2, exclude=[pb.MessageRange(conversation=talk.name, start_sequence=4)]
    )
    assert [message.content for message in hit.before] == ["one", "two"]
    assert [message.content for message in hit.after] == ["four", "five"]
    (hit,) = await client.search("boat", limit=1)
    assert not hit.before
    assert not hit.after


async def test_of_more_neighbours_than_fit_an_answer_those_of_the_best_hits_come(client):
    talk = await client.create()
    await client.append(talk.name, "boat", *["x" * 300_000] * 11)
    hits = await client.search("boat", neighbours=10, limit=12)
    assert len(hits) == 12
    assert hits[0].after
    assert not hits[-1].before


async def test_newer_messages_are_preferred_only_where_asked_for(serve):
    day = 86_400
    now = int(time.time())
    async with serve(embedder=AlikeEmbedder()) as client:
        talks = [await client.create() for _ in range(2)]
        # The older one was stored last, and so wins the tie.
        for talk, age in zip(talks, (1, 60), strict=True):
            said = cm.ChatMessage(role=cm.ROLE_USER, content="boat", create_time=Timestamp(seconds=now - age * day))
            await client.append(talk.name, said)
        first = await client.search("boat")
        assert first[0].message.name.startswith(talks[1].name)
        assert [hit.prior for hit in first] == [0, 0]
        hits = await client.search("boat", recency_half_life=Duration(seconds=30 * day))
        assert hits[0].message.name.startswith(talks[0].name)
        assert [hit.prior for hit in hits] == pytest.approx([2 ** (-1 / 30), 0.25], abs=0.01)


async def test_similarity_is_not_told_where_the_embedder_was_not_made_for_the_query(serve):
    async with serve(embedder=EnglishEmbedder()) as client:
        talk = await client.create()
        await client.append(talk.name, "Мою собаку зовут Бублик", "Ничего нового", "My dog is old")
        (hit, *_) = await client.search("Как зовут собаку?")
        assert hit.message.sequence == 1
        assert hit.similarity == 0
        assert hit.word_share == pytest.approx(1)
        assert (await client.search("dog"))[0].similarity > 0


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
        ({"neighbours": -1}, "neighbours"),
        ({"neighbours": 11}, "neighbours"),
        ({"recency_half_life": Duration(nanos=1)}, "recency_half_life"),
        ({"recency_half_life": Duration(seconds=10**10)}, "recency_half_life"),
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
        assert sorted(text.split()[0] for batch in other.batches for text in batch) == ["last", "tomatoes", "trains"]
