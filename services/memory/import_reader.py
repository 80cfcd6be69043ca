"""Reads the stream of an import: a header, then conversations, each followed by its messages.

Messages are numbered anew from 1, and replies point to the new numbers: what `ExportMessages` gave comes in as it
was, and so does a stream that somebody has cut messages out of.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from services.memory import field_checks as check
from services.memory import validation
from services.memory.conversation import NO_SUMMARY, ConversationDraft, ImportedConversation, ImportedMessage
from services.memory.store import WriteRequest
from services.rpc.errors import InvalidArgument, MessageNotFound, invalid_field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from chatbot.v1 import chat_message_pb2, memory_service_pb2


class _Open:
    """The conversation that messages are being read into."""

    def __init__(self, given: memory_service_pb2.Conversation) -> None:
        field = "record.conversation"
        self.draft: ConversationDraft = validation.conversation_draft(field, given)
        self.create_ns = (
            check.time_ns(f"{field}.create_time", given.create_time) if given.HasField("create_time") else None
        )
        self.update_ns = (
            check.time_ns(f"{field}.update_time", given.update_time) if given.HasField("update_time") else None
        )
        self.window_start = check.not_negative(f"{field}.window_start_sequence", given.window_start_sequence)
        self.summary = validation.summary(field, given)
        self.messages: list[ImportedMessage] = []
        self._sequence_of: dict[str, int] = {}

    def add(self, given: chat_message_pb2.ChatMessage) -> None:
        draft = validation.message_draft("record.message", given)
        reply_to: int | None = None
        if given.reply_to:
            reply_to = self._sequence_of.get(given.reply_to)
            if reply_to is None:
                raise MessageNotFound("record.message.reply_to names no earlier message of the conversation.")
        request_id = check.request_id("record.message.request_id", given.request_id) if given.request_id else None
        # Names of where it comes from name nothing here.
        draft = replace(draft, quotes=(), quotes_start=0)
        self.messages.append(ImportedMessage(draft, reply_to, given.superseded, request_id))
        if given.name:
            self._sequence_of[given.name] = len(self.messages)

    def finished(self) -> ImportedConversation:
        return ImportedConversation(
            self.draft,
            self.create_ns,
            self.update_ns,
            min(max(1, self.window_start), len(self.messages) + 1),
            tuple(self.messages),
            replace(self.summary, through_sequence=min(self.summary.through_sequence, len(self.messages)))
            if self.messages
            else NO_SUMMARY,
        )


class ConversationReader:
    """Puts together conversations from records, one after another."""

    def __init__(self) -> None:
        self._open: _Open | None = None

    def add(self, record: memory_service_pb2.ExportRecord) -> Iterator[ImportedConversation]:
        """Takes the next record, and yields the conversation that it is no more part of.

        Raises:
            InvalidArgument: The record is not as the protocol says, or a message comes before any conversation.
            MessageNotFound: A message replies to one that is not before it in its conversation.
        """
        kind = record.WhichOneof("record")
        if kind == "conversation":
            yield from self.end()
            self._open = _Open(record.conversation)
        elif kind == "message" and self._open is not None:
            self._open.add(record.message)
        else:
            raise invalid_field("record", "must be a conversation, or a message after its conversation")

    def end(self) -> Iterator[ImportedConversation]:
        """Yields the last conversation, where there is one."""
        if self._open is not None:
            yield self._open.finished()
            self._open = None


async def read_import(
    parts: AsyncIterator[memory_service_pb2.ImportMessagesRequest], max_bytes: int
) -> tuple[list[ImportedConversation], WriteRequest]:
    """Reads the whole stream, and returns what it holds and who imports it.

    Args:
        parts: The stream.
        max_bytes: Most bytes of records; they are held in memory.

    Raises:
        InvalidArgument: The stream is not as the protocol says, or too large.
        MessageNotFound: A message replies to one that is not before it in its conversation.
    """
    header: memory_service_pb2.ImportMessagesRequest.Header | None = None
    digest = hashlib.sha256(b"ImportMessages\0")
    size = 0
    reader = ConversationReader()
    conversations: list[ImportedConversation] = []
    async for part in parts:
        kind = part.WhichOneof("part")
        if header is None:
            if kind != "header":
                raise invalid_field("header", "must be the first part of the stream")
            header = part.header
            check.user("header.user_id", header.user_id)
            check.request_id("header.request_id", header.request_id)
            continue
        if kind != "record":
            raise invalid_field("record", "must be what every part after the header holds")
        content = part.record.SerializeToString(deterministic=True)
        size += len(content)
        if size > max_bytes:
            raise InvalidArgument(
                f"The records have more than {max_bytes} bytes together; import fewer conversations at once."
            )
        digest.update(len(content).to_bytes(8, "big") + content)
        conversations.extend(reader.add(part.record))
    if header is None:
        raise invalid_field("header", "must be the first part of the stream")
    request = WriteRequest(header.user_id, header.request_id.lower(), digest.digest())
    conversations.extend(reader.end())
    return conversations, request
