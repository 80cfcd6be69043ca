"""Messages at the door: what is stored, listed and refused."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb

A_UUID = "123e4567-e89b-12d3-a456-426614174000"


def said(content: str, **fields) -> cm.ChatMessage:
    return cm.ChatMessage(role=fields.pop("role", cm.ROLE_USER), content=content, **fields)


async def test_messages_come_back_as_they_were_given(client):
    talk = await client.create()
    question = said("Что я выращиваю?\x01\r\n😀 ", author="Иван", create_time=Timestamp(seconds=-5, nanos=7))
    stored = (await client.append(talk.name, question)).messages[0]
    reply = said(
        "",
        role=cm.ROLE_ASSISTANT,
        reply_to=stored.name,
        finish_reason=cm.FINISH_REASON_CANCELLED,
        usage=cm.Usage(prompt_tokens=3, cached_tokens=1),
    )
    await client.append(talk.name, reply)
    first, second = await client.list(talk.name)
    assert first == stored
    assert (first.content, first.author, first.create_time, first.sequence) == (
        question.content,
        "Иван",
        question.create_time,
        1,
    )
    assert not first.HasField("usage")
    assert (second.reply_to, second.finish_reason, second.usage, second.sequence) == (
        first.name,
        cm.FINISH_REASON_CANCELLED,
        reply.usage,
        2,
    )
    assert not second.HasField("author")


async def test_a_repeated_append_is_replayed(client):
    talk = await client.create()
    first = await client.append(talk.name, "one", "two", request_id=A_UUID)
    again = await client.append(talk.name, "one", "two", request_id=A_UUID)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.messages == first.messages
    assert len(await client.list(talk.name)) == 2


async def test_a_repeated_append_may_expect_the_sequence_that_the_first_one_left(client):
    talk = await client.create()
    await client.append(talk.name, "one", request_id=A_UUID, expected_last_sequence=0)
    for expected in (0, 1, 77):
        again = await client.append(talk.name, "one", request_id=A_UUID, expected_last_sequence=expected)
        assert again.replayed
    assert len(await client.list(talk.name)) == 1


async def test_one_append_sent_many_times_at_once_is_stored_once(client):
    talk = await client.create()
    answers = await asyncio.gather(*(client.append(talk.name, "one", request_id=A_UUID) for _ in range(20)))
    assert sum(not answer.replayed for answer in answers) == 1
    assert len(await client.list(talk.name)) == 1


async def test_a_sequence_mismatch_aborts(client, refused):
    talk = await client.create()
    await client.append(talk.name, "one", expected_last_sequence=0)
    told = await refused(client.append(talk.name, "two", expected_last_sequence=0))
    assert (told.code, told.reason, told.metadata) == (
        "ABORTED",
        "SEQUENCE_MISMATCH",
        {"last_sequence": "1", "expected_last_sequence": "0"},
    )
    assert len(await client.list(talk.name)) == 1


async def test_superseded_messages_are_listed_only_when_asked_for(client):
    talk = await client.create()
    await client.append(talk.name, "question", "old tomatoes")
    await client.append(talk.name, "new tomatoes", supersede_from_sequence=2)
    assert [m.content for m in await client.list(talk.name)] == ["question", "new tomatoes"]
    everything = await client.list(talk.name, include_superseded=True)
    assert [(m.content, m.superseded) for m in everything] == [
        ("question", False),
        ("old tomatoes", True),
        ("new tomatoes", False),
    ]
    assert [hit.message.content for hit in await client.search("tomatoes", limit=2)] == ["new tomatoes", "question"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (said(""), "messages[0].content"),
        (said("", role=cm.ROLE_ASSISTANT), "messages[0].content"),
        (said("a\0b"), "messages[0].content"),
        (said("я" * 500_001), "messages[0].content"),
        (said("x", role=cm.ROLE_UNSPECIFIED), "messages[0].role"),
        (said("x", role=9), "messages[0].role"),
        (said("x", finish_reason=99), "messages[0].finish_reason"),
        (said("x", author="a" * 201), "messages[0].author"),
        (said("x", reply_to="1"), "messages[0].reply_to"),
        (said("x", usage=cm.Usage(prompt_tokens=-1)), "messages[0].usage.prompt_tokens"),
        (said("x", create_time=Timestamp(seconds=10**12)), "messages[0].create_time"),
        (said("x", create_time=Timestamp(nanos=-1)), "messages[0].create_time"),
    ],
)
async def test_a_wrong_message_is_refused_by_its_field_and_none_is_stored(client, refused, message, field):
    talk = await client.create()
    told = await refused(client.append(talk.name, message, "fine"))
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", (field,))
    assert await client.list(talk.name) == []


async def test_a_reply_to_a_message_that_is_not_there_is_not_found(client, refused):
    talk = await client.create()
    told = await refused(client.append(talk.name, said("x", reply_to=f"{talk.name}/messages/7")))
    assert (told.code, told.reason) == ("NOT_FOUND", "MESSAGE_NOT_FOUND")


@pytest.mark.parametrize("count", [0, 1001])
async def test_no_message_or_too_many_are_refused(client, refused, count):
    talk = await client.create()
    assert (await refused(client.append(talk.name, *["x"] * count))).fields == ("messages",)


async def test_a_thousand_messages_are_appended_and_listed_in_pages(client):
    talk = await client.create()
    await client.append(talk.name, *(str(i) for i in range(1000)))
    for order, expected in (
        (pb.LIST_ORDER_UNSPECIFIED, range(1000)),
        (pb.LIST_ORDER_NEWEST_FIRST, range(999, -1, -1)),
    ):
        listed = await client.list(talk.name, page_size=300, order=order)
        assert [m.content for m in listed] == [str(i) for i in expected]
    page = await client.stub.ListMessages(
        pb.ListMessagesRequest(user_id=client.user_id, conversation=talk.name, start_sequence=990)
    )
    assert [m.sequence for m in page.messages] == list(range(990, 1001))


async def test_a_page_of_the_largest_messages_fits_the_wire(client):
    talk = await client.create()
    for _ in range(2):
        await client.append(talk.name, *["x" * 999_900] * 8)
    assert len(await client.list(talk.name, page_size=1000)) == 16


async def test_an_append_too_large_to_be_answered_is_refused(client, refused):
    talk = await client.create()
    assert (await refused(client.append(talk.name, *["x" * 1_000_000] * 9))).fields == ("messages",)


async def test_a_page_token_is_good_for_its_own_list_alone(client, refused):
    talk, other = await client.create(), await client.create()
    for each in (talk, other):
        await client.append(each.name, "one", "two")
    own = {"user_id": client.user_id, "conversation": talk.name, "page_size": 1}
    token = (await client.stub.ListMessages(pb.ListMessagesRequest(**own))).next_page_token
    for change in (
        {"conversation": other.name},
        {"order": pb.LIST_ORDER_NEWEST_FIRST},
        {"filter": pb.MessageFilter(authors=["Иван"])},
        {"start_sequence": 2},
        {"include_superseded": True},
    ):
        told = await refused(client.stub.ListMessages(pb.ListMessagesRequest(**{**own, **change}, page_token=token)))
        assert told.reason == "INVALID_PAGE_TOKEN"
    page = await client.stub.ListMessages(pb.ListMessagesRequest(**{**own, "page_size": 5}, page_token=token))
    assert [m.content for m in page.messages] == ["two"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"start_sequence": -1}, "start_sequence"),
        ({"order": 9}, "order"),
        ({"conversation": "nonsense"}, "conversation"),
        ({"user_id": ""}, "user_id"),
        ({"filter": pb.MessageFilter(roles=[0])}, "filter.roles[0]"),
        ({"filter": pb.MessageFilter(authors=["x"] * 101)}, "filter.authors"),
        (
            {"filter": pb.MessageFilter(start_time=Timestamp(seconds=5), end_time=Timestamp(seconds=5))},
            "filter.end_time",
        ),
        ({"filter": pb.MessageFilter(start_time=Timestamp(seconds=-(10**11)))}, "filter.start_time"),
    ],
)
async def test_a_wrong_list_is_refused_by_its_field(client, refused, fields, wrong):
    request = {"user_id": client.user_id, "conversation": "conversations/x", **fields}
    told = await refused(client.stub.ListMessages(pb.ListMessagesRequest(**request)))
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", (wrong,))
