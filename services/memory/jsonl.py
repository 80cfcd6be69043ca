"""An export as lines of JSON (https://jsonlines.org), and back.

A line is one record in protobuf's JSON form with the proto's field names, without what a service gives out anew: the
names of conversations and messages, and counts. `reply_to` is the sequence of the message that is replied to. Keys are
sorted and nothing depends on where a record is stored, so what was imported is exported as the same bytes.

    {"conversation":{"create_time":"2026-01-02T03:04:05Z","title":"Garden","window_start_sequence":"1",…}}
    {"message":{"content":"When do I sow peas?","role":"ROLE_USER","sequence":"1",…}}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from chatbot.v1 import memory_service_pb2 as pb
from services.memory.resource_name import MessageName, parse_message
from services.rpc.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Many a program ends a line at these too. JSON allows them in a string as they are, and escaped.
_ENDS_OF_LINES = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

_GIVEN_OUT = frozenset({"name", "last_sequence", "message_count"})


def to_lines(records: Iterable[pb.ExportRecord]) -> Iterator[str]:
    """Yields each record of an export as a line, its end included."""
    for record in records:
        ((kind, fields),) = json_format.MessageToDict(record, preserving_proto_field_name=True).items()
        kept: dict[str, Any] = {key: value for key, value in fields.items() if key not in _GIVEN_OUT}
        if "reply_to" in kept:
            kept["reply_to"] = parse_message("reply_to", kept["reply_to"]).sequence
        line = json.dumps({kind: kept}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        yield line.translate(_ENDS_OF_LINES) + "\n"


def from_lines(lines: Iterable[str]) -> Iterator[pb.ExportRecord]:
    """Yields the record of each line, under names that hold within these lines, as an import takes them.

    Raises:
        InvalidArgument: A line is no such record. The message tells which line, never what it says.
    """
    return from_numbered_lines(enumerate(lines, start=1))


def from_numbered_lines(numbered: Iterable[tuple[int, str]]) -> Iterator[pb.ExportRecord]:
    """As `from_lines`, of lines that come with their numbers. Takes a line only when its record is asked for."""
    conversation = ""
    for number, line in numbered:
        try:
            given = json.loads(line)
            ((kind, fields),) = given.items()
            if kind == "conversation":
                conversation = f"{number}"
            else:
                fields["name"] = str(MessageName(conversation, int(fields["sequence"])))
                if "reply_to" in fields:
                    fields["reply_to"] = str(MessageName(conversation, int(fields["reply_to"])))
            record = json_format.ParseDict({kind: fields}, pb.ExportRecord())
        except (ValueError, TypeError, KeyError, AttributeError, json_format.ParseError):
            raise InvalidArgument(f"Line {number} is no record of an export.") from None
        yield record
