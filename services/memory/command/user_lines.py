"""The file of several users: a line `{"user":"ann"}` stands before the lines that `jsonl` makes of each one's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.memory import field_checks
from services.memory.import_reader import ConversationReader
from services.memory.jsonl import from_numbered_lines
from services.rpc.errors import ChatbotError, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chatbot.v1 import memory_service_pb2 as pb
    from services.memory.conversation import ImportedConversation

_BEGINS = '{"user"'


def user_line(user_id: str) -> str:
    """Returns the line that says whose the ones after it are."""
    return json.dumps({"user": user_id}, ensure_ascii=True, separators=(",", ":")) + "\n"


class _Owned:
    """Numbered lines without those that say whose the ones after them are; `user_id` is the owner of the last one."""

    def __init__(self, lines: Iterable[str], user_id: str | None) -> None:
        self._lines = lines
        self._is_given = user_id is not None
        self.user_id = user_id or ""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(self._lines, start=1):
            if not line.startswith(_BEGINS):
                if not self.user_id:
                    raise InvalidArgument(f"Line {number} does not say whose it is; give --user.")
                yield number, line
            elif self._is_given:
                raise InvalidArgument(f"Line {number} says whose the conversations are; leave --user out.")
            else:
                self.user_id = _owner(number, line)


def user_records(lines: Iterable[str], user_id: str | None) -> Iterator[tuple[str, pb.ExportRecord]]:
    """Yields whose each record is, and the record.

    Args:
        lines: Of an export.
        user_id: Whose they are where no line says it; None: every record is under such a line.

    Raises:
        InvalidArgument: A line is not as it should be; the message tells which, never what it says.
    """
    owned = _Owned(lines, user_id)
    for record in from_numbered_lines(owned):
        yield owned.user_id, record


def user_conversations(lines: Iterable[str], user_id: str | None) -> Iterator[tuple[str, ImportedConversation]]:
    """Yields whose each conversation is, and the conversation, holding one at a time. As `user_records`."""
    reader = ConversationReader()
    owner = ""
    for whose, record in user_records(lines, user_id):
        if whose != owner:
            for each in reader.end():
                yield owner, each
            owner = whose
        for each in reader.add(record):
            yield owner, each
    for each in reader.end():
        yield owner, each


def _owner(number: int, line: str) -> str:
    try:
        ((_, user_id),) = json.loads(line).items()
        if isinstance(user_id, str):
            return field_checks.user("user", user_id)
    except (ValueError, AttributeError, ChatbotError):
        pass
    raise InvalidArgument(f"Line {number} is no user of an export.")
