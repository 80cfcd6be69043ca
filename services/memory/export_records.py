"""Conversations as the records of an export."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from chatbot.v1 import memory_service_pb2 as pb
from services.memory import wire
from services.memory.message import FinishReason, MessageQuery
from services.rpc.errors import ConversationNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.memory.store import Store

_PAGE = 200


async def export_records(
    store: Store, user_id: str, conversation_id: str | None
) -> AsyncGenerator[pb.ExportRecord, None]:
    """Yields a conversation of the user's, or all of them, the oldest first.

    Raises:
        ConversationNotFound: There is none of that id.
    """
    ids = await store.conversation_ids(user_id) if conversation_id is None else [conversation_id]
    for each in ids:
        try:
            async with aclosing(_records(store, user_id, each)) as records:
                async for record in records:
                    yield record
        except ConversationNotFound:
            # Of an export of everything: deleted since that began.
            if conversation_id is not None:
                raise


async def _records(store: Store, user_id: str, conversation_id: str) -> AsyncGenerator[pb.ExportRecord, None]:
    """Yields a conversation, then its messages up to where it stood then, so that the two fit each other."""
    conversation = await store.get_conversation(user_id, conversation_id)
    yield pb.ExportRecord(conversation=wire.conversation(conversation))
    query = MessageQuery(conversation_id, _PAGE, include_superseded=True, after=0)
    while (query.after or 0) < conversation.last_sequence:
        page = await store.list_messages(user_id, query)
        for message in page.messages:
            # What was deleted has nothing that could be taken in; of a reply its end is left.
            deleted = not message.content and message.finish_reason is FinishReason.UNSPECIFIED
            if message.sequence <= conversation.last_sequence and not deleted:
                # They name messages of conversations that an export need not have.
                yield pb.ExportRecord(message=wire.message(message._replace(quotes=(), quotes_start=0)))
        query = replace(query, after=page.messages[-1].sequence)
