"""Conversations that are gone by themselves, at the door."""

from __future__ import annotations

import time

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from chatbot.v1 import memory_service_pb2 as pb

A_UUID = "123e4567-e89b-12d3-a456-426614174000"
B_UUID = "223e4567-e89b-12d3-a456-426614174000"
FAR = Timestamp(seconds=4_000_000_000, nanos=123_456_789)


async def create(client, request_id=A_UUID, **fields) -> pb.Conversation:
    request = pb.CreateConversationRequest(
        user_id=client.user_id, conversation=pb.Conversation(**fields), request_id=request_id
    )
    return (await client.stub.CreateConversation(request)).conversation


def update(client, name, path, request_id=B_UUID, **fields):
    return client.stub.UpdateConversation(
        pb.UpdateConversationRequest(
            user_id=client.user_id,
            conversation=pb.Conversation(name=name, **fields),
            update_mask=FieldMask(paths=[path]),
            request_id=request_id,
        )
    )


async def test_an_expire_time_is_kept_to_the_nanosecond_and_in_an_export(client):
    made = await create(client, expire_time=FAR)
    assert made.expire_time == FAR
    request = pb.ExportMessagesRequest(user_id=client.user_id)
    records = [response.record async for response in client.stub.ExportMessages(request)]
    assert [record.conversation.expire_time for record in records] == [FAR]


async def test_a_ttl_is_answered_as_the_time_it_stands_for_however_often_it_is_asked(client):
    before = time.time()
    made = await create(client, ttl=Duration(seconds=60))
    assert before + 60 <= made.expire_time.ToNanoseconds() / 1e9 <= time.time() + 60
    assert made.WhichOneof("expiration") == "expire_time"
    assert await create(client, ttl=Duration(seconds=60)) == made


async def test_without_either_a_conversation_stays(client):
    assert (await create(client)).WhichOneof("expiration") is None


async def test_what_was_said_is_not_found_past_its_time_and_leaves_its_place_to_others(client, refused, monkeypatch):
    made = await create(client, expire_time=FAR)
    await client.append(made.name, "tomato", "tomato again")
    stays = await client.create()
    await client.append(stays.name, "a violin")
    assert (await client.search("tomato", limit=1))[0].message.content != "a violin"
    monkeypatch.setattr("services.memory.store.expiry_rows.time.time_ns", FAR.ToNanoseconds)
    assert [hit.message.content for hit in await client.search("tomato", limit=1)] == ["a violin"]
    told = await refused(client.append(made.name, "more"))
    assert (told.code, told.reason) == ("NOT_FOUND", "CONVERSATION_NOT_FOUND")


@pytest.mark.parametrize("path", ["expire_time", "ttl"])
async def test_an_expiration_is_changed_and_taken_back_by_either_name(client, path):
    made = await create(client)
    changed = (await update(client, made.name, path, expire_time=FAR)).conversation
    assert changed.expire_time == FAR
    back = (await update(client, made.name, path, request_id="323e4567-e89b-12d3-a456-426614174000")).conversation
    assert back.WhichOneof("expiration") is None


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"ttl": Duration(seconds=0, nanos=5)}, "conversation.ttl"),
        ({"ttl": Duration(seconds=-5)}, "conversation.ttl"),
        ({"ttl": Duration(seconds=200 * 365 * 86_400)}, "conversation.ttl"),
        ({"expire_time": Timestamp(seconds=10**11)}, "conversation.expire_time"),
    ],
)
async def test_a_wrong_expiration_is_refused_by_its_field(client, refused, fields, wrong):
    assert (await refused(create(client, **fields))).fields == (wrong,)
