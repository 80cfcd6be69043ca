"""An export as lines of JSON: what was imported is exported as the same bytes."""

from __future__ import annotations

import json
import uuid

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from chatbot.v1 import chat_message_pb2 as cm
from chatbot.v1 import memory_service_pb2 as pb
from services.memory.jsonl import from_lines, to_lines
from services.rpc.errors import InvalidArgument


async def exported(client) -> str:
    stream = client.stub.ExportMessages(pb.ExportMessagesRequest(user_id=client.user_id))
    return "".join(to_lines([response.record async for response in stream]))


async def take_in(client, lines: str) -> pb.ImportMessagesResponse:
    header = pb.ImportMessagesRequest.Header(user_id=client.user_id, request_id=str(uuid.uuid4()))
    parts = [pb.ImportMessagesRequest(header=header)]
    parts += [pb.ImportMessagesRequest(record=record) for record in from_lines(lines.splitlines(keepends=True))]
    return await client.stub.ImportMessages(iter(parts))


async def fill(client):
    one = await client.create("Сад \u2028 «🌱»", 'кратко\n"quoted" \\ \x01')
    question = cm.ChatMessage(
        role=cm.ROLE_USER,
        content="вопрос\r\n\u2028\u0085",
        author="",
        create_time=Timestamp(seconds=-5, nanos=123_456_789),
    )
    asked = (await client.append(one.name, question)).messages[0]
    reply = {"role": cm.ROLE_ASSISTANT, "reply_to": asked.name, "finish_reason": cm.FINISH_REASON_EOS}
    await client.append(one.name, cm.ChatMessage(content="old", usage=cm.Usage(), **reply))
    await client.append(
        one.name,
        cm.ChatMessage(content="new", usage=cm.Usage(prompt_tokens=3, completion_tokens=2), author="Ann", **reply),
        supersede_from_sequence=2,
    )
    request = pb.CreateConversationRequest(
        user_id=client.user_id,
        request_id=str(uuid.uuid4()),
        conversation=pb.Conversation(expire_time=Timestamp(seconds=4_000_000_000, nanos=1)),
    )
    await client.stub.CreateConversation(request)
    summed_up = pb.UpdateConversationRequest(
        user_id=client.user_id,
        conversation=pb.Conversation(
            name=one.name, summary="Про сад.", summary_through_sequence=2, title_source=pb.TITLE_SOURCE_MODEL
        ),
        update_mask=FieldMask(paths=["summary", "summary_through_sequence", "title_source"]),
        request_id=str(uuid.uuid4()),
    )
    await client.stub.UpdateConversation(summed_up)


@pytest.mark.parametrize("there", ["sqlite", "postgres"])
async def test_what_was_imported_is_exported_as_the_same_bytes(serve, request, there, tmp_path):
    async with serve() as client:
        await fill(client)
        lines = await exported(client)
        assert lines.count("\n") == 5
        assert '"summary":"Про сад.","summary_through_sequence":"2"' in lines
    url = None if there == "sqlite" else request.getfixturevalue("postgres_url")
    async with serve(database_url=url, data_dir=tmp_path / "other") as other:
        counts = await take_in(other, lines)
        assert (counts.conversation_count, counts.message_count) == (2, 3)
        assert (await exported(other)).encode() == lines.encode()


async def test_no_line_tells_a_name_of_the_service_it_came_from(client):
    await fill(client)
    assert "conversations/" not in await exported(client)


@pytest.mark.parametrize(
    "line",
    ["", "secret", "[]", "{}", '{"secret":{}}', '{"message":{"content":"secret"}}', '{"message":{"sequence":"x"}}', "1",
     '{"message":1}', '{"conversation":{"title":1}}', '{"conversation":{"secret":1}}'],
)  # fmt: skip
def test_a_wrong_line_is_refused_by_its_number_and_not_repeated(line):
    good = json.dumps({"conversation": {"title": "t"}})
    with pytest.raises(InvalidArgument, match="Line 2 is no record") as refusal:
        list(from_lines([good, line]))
    assert "secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None
