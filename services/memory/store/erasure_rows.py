"""Messages that are deleted out of a conversation that goes on.

Their places stay, without the text: sequences have no gaps, and whatever names a later message still names that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from services.memory.store import conversation_rows, requests, vector_rows
from services.memory.store.requests import Outcome, WriteRequest
from services.memory.store.tables import conversations, messages, unembedded, vectors

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from services.memory.message import MessageRange

_m = messages.c


def erase(connection: Connection, wanted: MessageRange, request: WriteRequest) -> int:
    """Deletes messages, and with the last one that is shown their conversation.

    A repeated request does nothing and returns the first count.

    Returns:
        How many of them were shown, that is not superseded or deleted before.

    Raises:
        ConversationNotFound: There is none, or it is another user's.
    """
    done = requests.find(connection, request)
    if done is not None:
        return done.message_count
    conversation = conversation_rows.owned(connection, request.user_id, wanted.conversation_id, lock=True)
    last = conversation.last_sequence if wanted.end_sequence is None else wanted.end_sequence
    inside = (_m.conversation_id == conversation.id, _m.sequence.between(wanted.start_sequence, last))
    shown = connection.execute(select(func.count()).where(*inside, ~_m.superseded)).scalar_one()
    if shown and shown == conversation.message_count:
        connection.execute(delete(conversations).where(conversations.c.id == conversation.id))
    else:
        gone = select(_m.id).where(*inside)
        connection.execute(delete(vectors).where(vectors.c.message_id.in_(gone)))
        connection.execute(delete(unembedded).where(unembedded.c.message_id.in_(gone)))
        connection.execute(
            update(messages)
            .where(*inside)
            .values(content="", size=0, author=None, reply_to=None, quotes="", quotes_start=0, superseded=True)
        )
        connection.execute(
            update(messages)
            .where(_m.conversation_id == conversation.id, _m.reply_to.between(wanted.start_sequence, last))
            .values(reply_to=None)
        )
        if wanted.start_sequence <= conversation.summary.through_sequence:
            conversation_rows.forget_summary(connection, conversation)
        conversation_rows.grow(connection, conversation, 0, shown)
    vector_rows.count_deletion(connection, request.user_id)
    requests.remember(connection, request, Outcome(message_count=shown))
    return shown
