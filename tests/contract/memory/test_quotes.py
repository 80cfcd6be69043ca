"""Messages by their names, and what was quoted for a reply."""

from __future__ import annotations

import pytest

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb


async def by_names(client, *names: str, user_id: str = "") -> list[str]:
    request = pb.BatchGetMessagesRequest(user_id=user_id or client.user_id, names=names)
    return [message.name for message in (await client.stub.BatchGetMessages(request)).messages]


async def test_messages_come_in_the_order_of_their_names_from_all_conversations_each_once(client):
    one, other = await client.create(), await client.create()
    first = [message.name for message in (await client.append(one.name, "a", "b")).messages]
    second = [message.name for message in (await client.append(other.name, "c")).messages]
    asked = [second[0], first[1], first[0], second[0]]
    assert await by_names(client, *asked) == [second[0], first[1], first[0]]


async def test_what_is_not_there_not_the_users_or_superseded_is_left_out(client):
    talk = await client.create()
    stored = [message.name for message in (await client.append(talk.name, "a", "b", "c")).messages]
    await client.append(talk.name, "d", supersede_from_sequence=3)
    missing = [f"{talk.name}/messages/99", f"{talk.name}/messages/x", "conversations/none/messages/1"]
    assert await by_names(client, *missing, *stored) == stored[:2]
    assert await by_names(client, *stored, user_id="somebody else") == []


@pytest.mark.parametrize("names", [[], ["a"], ["conversations/a"], ["conversations/a/messages/1"] * 1001])
async def test_names_that_are_none_or_too_many_are_refused(client, refused, names: list[str]):
    told = await refused(by_names(client, *names))
    assert told.code == "INVALID_ARGUMENT"
    assert told.fields[0].startswith("names")


async def test_what_was_quoted_is_kept_with_a_reply_but_not_exported_nor_taken_in(client, refused):
    talk = await client.create()
    names = [message.name for message in (await client.append(talk.name, "a", "b")).messages]
    reply = cm.ChatMessage(role=cm.ROLE_ASSISTANT, content="r", quotes=[*names[::-1]], quotes_start_sequence=3)
    await client.append(talk.name, reply)
    kept = (await client.list(talk.name))[-1]
    assert (list(kept.quotes), kept.quotes_start_sequence) == (names[::-1], 3)
    export = pb.ExportMessagesRequest(user_id=client.user_id)
    records = [answer.record async for answer in client.stub.ExportMessages(export)]
    assert [list(record.message.quotes) for record in records if record.HasField("message")] == [[], [], []]
    header = pb.ImportMessagesRequest.Header(user_id="taker", request_id="123e4567-e89b-12d3-a456-426614174001")
    taken = [
        pb.ExportRecord(conversation=pb.Conversation(title="t")),
        pb.ExportRecord(message=cm.ChatMessage(role=cm.ROLE_ASSISTANT, content="r", quotes=names)),
    ]
    parts = [pb.ImportMessagesRequest(header=header), *(pb.ImportMessagesRequest(record=each) for each in taken)]
    await client.stub.ImportMessages(iter(parts))
    listed = await client.stub.ListConversations(pb.ListConversationsRequest(user_id="taker"))
    (message,) = await client.list(listed.conversations[0].name, user_id="taker")
    assert not message.quotes
    many = cm.ChatMessage(role=cm.ROLE_ASSISTANT, content="r", quotes=names * 51)
    assert (await refused(client.append(talk.name, many))).fields == ("messages[0].quotes",)


async def test_a_reply_that_is_deleted_names_nothing_any_more(client):
    talk = await client.create()
    name = (await client.append(talk.name, "a")).messages[0].name
    await client.append(talk.name, cm.ChatMessage(role=cm.ROLE_ASSISTANT, content="r", quotes=[name]))
    await client.stub.DeleteMessages(
        pb.DeleteMessagesRequest(
            user_id=client.user_id,
            conversation=talk.name,
            start_sequence=2,
            request_id="123e4567-e89b-12d3-a456-426614174002",
        )
    )
    assert [list(message.quotes) for message in await client.list(talk.name, include_superseded=True)] == [[], []]
