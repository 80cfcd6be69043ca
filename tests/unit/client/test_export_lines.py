"""What the terminal exports, the memory's own command would have written, and imports."""

from __future__ import annotations

import json

from google.protobuf.timestamp_pb2 import Timestamp

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from client.export_lines import json_line, line_of
from services.memory.jsonl import from_lines, to_lines

RECORDS = [
    memory_pb.ExportRecord(
        conversation=memory_pb.Conversation(
            name="conversations/a",
            title="Сад \u2028 «🌱»",
            system_prompt='кратко\n"quoted" \\ \x01',
            create_time=Timestamp(seconds=-5, nanos=123_456_789),
            last_sequence=2,
            message_count=2,
            window_start_sequence=1,
            expire_time=Timestamp(seconds=4_000_000_000, nanos=1),
        )
    ),
    memory_pb.ExportRecord(
        message=message_pb.ChatMessage(
            name="conversations/a/messages/1",
            role=message_pb.ROLE_USER,
            content="вопрос\r\n\u2029\u0085",
            author="",
            sequence=1,
            request_id="6f6c1b9e-6d0c-4f1c-8a6e-0d1f5b0d8a11",
        )
    ),
    memory_pb.ExportRecord(
        message=message_pb.ChatMessage(
            name="conversations/a/messages/2",
            role=message_pb.ROLE_ASSISTANT,
            content="new",
            sequence=2,
            reply_to="conversations/a/messages/1",
            finish_reason=message_pb.FINISH_REASON_EOS,
            usage=message_pb.Usage(prompt_tokens=3, completion_tokens=2),
            superseded=True,
        )
    ),
]


def test_the_lines_are_those_of_the_memorys_own_export() -> None:
    assert [line_of(record) for record in RECORDS] == list(to_lines(RECORDS))


def test_an_import_reads_them_back() -> None:
    read = list(from_lines(line_of(record) for record in RECORDS))
    assert [record.message.content for record in read[1:]] == ["вопрос\r\n\u2029\u0085", "new"]
    assert read[2].message.reply_to == read[1].message.name


def test_a_line_is_one_line_of_utf_8_whatever_it_says() -> None:
    line = json_line({"b": "\u2028\n\x85", "a": "\udcff"})
    assert len(line.splitlines()) == 1
    assert json.loads(line.encode()) == {"b": "\u2028\n\x85", "a": "?"}
    assert line.startswith('{"b"')
