"""An export as lines of JSON (https://jsonlines.org), in the form that the memory's own command writes and reads.

A line is one record in protobuf's JSON form with the proto's field names, without what the service gives out anew:
the names of conversations and messages, and counts. `reply_to` is the sequence of the message that is replied to.

    {"conversation":{"create_time":"2026-01-02T03:04:05Z","title":"Garden","window_start_sequence":"1",…}}
    {"message":{"content":"When do I sow peas?","role":"ROLE_USER","sequence":"1",…}}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

if TYPE_CHECKING:
    from chatbot.v1 import memory_service_pb2

# Many a program ends a line at these too. JSON allows them in a string as they are, and escaped.
_ENDS_OF_LINES = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

_GIVEN_OUT = frozenset({"name", "last_sequence", "message_count"})


def json_line(value: object, *, sort_keys: bool = False) -> str:
    """Returns a value as one line of JSON, its end included: readable UTF-8, and no line for any reader but one."""
    line = json.dumps(value, ensure_ascii=False, sort_keys=sort_keys, separators=(",", ":"))
    # A lone surrogate, as undecodable bytes of a command line become, is no UTF-8.
    return line.encode("utf-8", "replace").decode().translate(_ENDS_OF_LINES) + "\n"


def line_of(record: memory_service_pb2.ExportRecord) -> str:
    """Returns one record of an export as a line."""
    ((kind, fields),) = json_format.MessageToDict(record, preserving_proto_field_name=True).items()
    kept: dict[str, Any] = {key: value for key, value in fields.items() if key not in _GIVEN_OUT}
    if record.message.reply_to:
        # The reply's own sequence comes with its message; that of another is the last part of its name.
        kept["reply_to"] = int(record.message.reply_to.rpartition("/")[2])
    return json_line({kind: kept}, sort_keys=True)
