"""Export, import and deletion at the door."""

from __future__ import annotations

import pytest

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb

A_UUID = "123e4567-e89b-12d3-a456-426614174000"


async def exported(client, **fields) -> list[pb.ExportRecord]:
    request = pb.ExportMessagesRequest(user_id=fields.pop("user_id", client.user_id), **fields)
    return [response.record async for response in client.stub.ExportMessages(request)]


def parts(user_id, records, request_id=A_UUID):
    yield pb.ImportMessagesRequest(header=pb.ImportMessagesRequest.Header(user_id=user_id, request_id=request_id))
    for record in records:
        yield pb.ImportMessagesRequest(record=record)


async def filled(client):
    one, two = await client.create("Сад", "кратко"), await client.create("empty")
    question = (
        await client.append(one.name, cm.ChatMessage(role=cm.ROLE_USER, content="вопрос", author="Иван"))
    ).messages[0]
    reply = {"role": cm.ROLE_ASSISTANT, "reply_to": question.name, "finish_reason": cm.FINISH_REASON_EOS}
    await client.append(one.name, cm.ChatMessage(content="old", **reply))
    await client.append(one.name, cm.ChatMessage(content="new", **reply), supersede_from_sequence=2)
    return one, two


def nameless(record: pb.ExportRecord) -> pb.ExportRecord:
    """What must be the same in an import: all but names."""
    copy = pb.ExportRecord()
    copy.CopyFrom(record)
    if copy.HasField("conversation"):
        copy.conversation.name = ""
    else:
        copy.message.name = "/".join(copy.message.name.split("/")[2:])
        copy.message.reply_to = "/".join(copy.message.reply_to.split("/")[2:])
    return copy


async def test_an_export_holds_each_conversation_followed_by_its_messages(client):
    one, two = await filled(client)
    records = await exported(client)
    assert [r.conversation.name or r.message.content for r in records] == [one.name, "вопрос", "old", "new", two.name]
    assert [r.message.superseded for r in records] == [False, False, True, False, False]
    assert await exported(client, conversation=two.name) == records[-1:]
    assert await exported(client, user_id="bob") == []


async def test_an_import_takes_in_what_an_export_gave(client):
    await filled(client)
    records = await exported(client)
    counts = await client.stub.ImportMessages(parts("bob", records))
    assert (counts.conversation_count, counts.message_count) == (2, 3)
    again = await exported(client, user_id="bob")
    assert [nameless(r) for r in again] == [nameless(r) for r in records]
    assert again[0].conversation.name != records[0].conversation.name
    assert again[2].message.reply_to == again[1].message.name
    found = await client.search("new", user_id="bob", limit=1)
    assert found[0].message.name == again[3].message.name


async def test_a_repeated_import_is_taken_in_once(client, refused):
    await filled(client)
    records = await exported(client)
    first = await client.stub.ImportMessages(parts("bob", records))
    assert await client.stub.ImportMessages(parts("bob", records)) == first
    assert len(await exported(client, user_id="bob")) == len(records)
    told = await refused(client.stub.ImportMessages(parts("bob", records[:-1])))
    assert told.reason == "REQUEST_ID_REUSED"


async def test_a_conversation_of_hundreds_of_messages_is_exported_whole(client):
    talk = await client.create()
    await client.append(talk.name, *(str(i) for i in range(450)))
    assert [r.message.content for r in await exported(client)][1:] == [str(i) for i in range(450)]


CONVERSATION = pb.ExportRecord(conversation=pb.Conversation(title="t"))
MESSAGE = pb.ExportRecord(message=cm.ChatMessage(role=cm.ROLE_USER, content="x"))
WRONG_MESSAGE = pb.ExportRecord(message=cm.ChatMessage(role=cm.ROLE_USER))
STRAY_REPLY = pb.ExportRecord(
    message=cm.ChatMessage(role=cm.ROLE_USER, content="x", reply_to="conversations/a/messages/9")
)


@pytest.mark.parametrize(
    ("stream", "reason", "fields"),
    [
        ([], "INVALID_ARGUMENT", ("header",)),
        ([pb.ImportMessagesRequest(record=CONVERSATION)], "INVALID_ARGUMENT", ("header",)),
        (list(parts("", [])), "INVALID_ARGUMENT", ("header.user_id",)),
        (list(parts("bob", [], "x")), "INVALID_ARGUMENT", ("header.request_id",)),
        (list(parts("bob", [])) * 2, "INVALID_ARGUMENT", ("record",)),
        (list(parts("bob", [MESSAGE])), "INVALID_ARGUMENT", ("record",)),
        (list(parts("bob", [CONVERSATION, pb.ExportRecord()])), "INVALID_ARGUMENT", ("record",)),
        (list(parts("bob", [CONVERSATION, MESSAGE, WRONG_MESSAGE])), "INVALID_ARGUMENT", ("record.message.content",)),
        (list(parts("bob", [CONVERSATION, MESSAGE, STRAY_REPLY])), "MESSAGE_NOT_FOUND", ()),
    ],
)
async def test_a_wrong_import_is_refused_and_nothing_of_it_is_stored(client, refused, stream, reason, fields):
    told = await refused(client.stub.ImportMessages(iter(stream)))
    assert (told.reason, told.fields) == (reason, fields)
    assert await exported(client, user_id="bob") == []


async def test_an_import_larger_than_the_setting_is_refused(serve, refused):
    async with serve(import_max_mb=1) as client:
        large = pb.ExportRecord(message=cm.ChatMessage(role=cm.ROLE_USER, content="x" * 600_000))
        told = await refused(client.stub.ImportMessages(parts("bob", [CONVERSATION, large, large])))
        assert told.code == "INVALID_ARGUMENT"
        assert await exported(client, user_id="bob") == []


async def test_deleted_messages_are_in_no_list_search_or_export_and_what_is_left_can_be_taken_in(client, refused):
    one, _ = await filled(client)
    question = await client.append(one.name, "and the garden")
    delete = pb.DeleteMessagesRequest(
        user_id=client.user_id, conversation=one.name, start_sequence=1, end_sequence=3, request_id=A_UUID
    )
    assert (await client.stub.DeleteMessages(delete)).message_count == 2
    assert await client.list(one.name) == [question.messages[0]]
    assert [hit.message.content for hit in await client.search("вопрос new garden")] == ["and the garden"]
    records = await exported(client)
    assert {record.message.content for record in records} == {"", "and the garden"}
    assert not any(record.message.author for record in records)
    await client.stub.ImportMessages(parts("bob", records))
    assert len(await exported(client, user_id="bob")) == len(records)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"start_sequence": 0}, "start_sequence"),
        ({"start_sequence": 2, "end_sequence": 1}, "end_sequence"),
        ({"end_sequence": -1}, "end_sequence"),
        ({"conversation": "x"}, "conversation"),
        ({"request_id": "x"}, "request_id"),
        ({"user_id": ""}, "user_id"),
    ],
)
async def test_a_wrong_deletion_of_messages_is_refused_by_its_field(client, refused, fields, wrong):
    one, _ = await filled(client)
    right = {"user_id": client.user_id, "conversation": one.name, "start_sequence": 1, "request_id": A_UUID}
    told = await refused(client.stub.DeleteMessages(pb.DeleteMessagesRequest(**(right | fields))))
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", (wrong,))
    assert len(await client.list(one.name)) == 2


async def test_deleting_a_user_leaves_nothing_of_theirs_and_all_of_others(client, refused):
    one, _ = await filled(client)
    kept = await client.create(user_id="bob")
    await client.append(kept.name, "stays", user_id="bob")
    request = pb.DeleteUserDataRequest(user_id=client.user_id, request_id=A_UUID)
    counts = await client.stub.DeleteUserData(request)
    assert (counts.conversation_count, counts.message_count) == (2, 3)
    assert await client.stub.DeleteUserData(request) == counts
    assert await exported(client) == []
    assert await client.search("new") == []
    told = await refused(client.append(one.name, "late"))
    assert told.reason == "CONVERSATION_NOT_FOUND"
    assert len(await exported(client, user_id="bob")) == 2
