"""Conversations in the database."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, select, tuple_, update

from services.memory.conversation import (
    NO_SUMMARY,
    Conversation,
    ConversationPage,
    Counts,
    Summary,
    TitleSource,
)
from services.memory.store import expiry_rows, requests, vector_rows
from services.memory.store.hot_statement import HotStatement
from services.memory.store.paging import within_bytes
from services.memory.store.requests import Outcome, WriteRequest
from services.memory.store.tables import conversations
from services.rpc.errors import ConversationChanged, ConversationNotFound, invalid_field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from services.memory.conversation import (
        ConversationChange,
        ConversationCursor,
        ConversationDraft,
        ExpectedState,
        ImportedConversation,
    )

_c = conversations.c
_COLUMNS = (
    _c.id,
    _c.title,
    _c.system_prompt,
    _c.create_ns,
    _c.update_ns,
    _c.last_sequence,
    _c.message_count,
    _c.window_start_sequence,
    _c.expire_ns,
    _c.summary,
    _c.summary_through_sequence,
    _c.title_source,
)

_PLAIN = tuple(column.name for column in _COLUMNS[:-3])
"""Those of the columns that are a conversation's fields as they are."""

_OWNED_NOW = select(*_COLUMNS).where(
    _c.id == bindparam("wanted_id"), _c.user_id == bindparam("wanted_user"), expiry_rows.LIVE
)
_OWNED = HotStatement(_OWNED_NOW)
_OWNED_LOCKED = HotStatement(_OWNED_NOW.with_for_update())
_GROW = HotStatement(
    update(conversations)
    .where(_c.id == bindparam("grown_id"))
    .values(
        last_sequence=bindparam("new_last_sequence"),
        message_count=bindparam("new_message_count"),
        update_ns=bindparam("new_update_ns"),
    )
)


def owned(connection: Connection, user_id: str, conversation_id: str, *, lock: bool = False) -> Conversation:
    """Returns the user's conversation.

    Args:
        connection: An open transaction.
        user_id: Whose it must be.
        conversation_id: Which.
        lock: Whether no other transaction may change it until this one ends.

    Raises:
        ConversationNotFound: There is none, it has expired, or it is another user's.
    """
    statement = _OWNED_LOCKED if lock else _OWNED
    rows = statement.rows(connection, {"wanted_id": conversation_id, "wanted_user": user_id})
    if not rows:
        raise ConversationNotFound("There is no such conversation.")
    return _conversation(rows[0])


def page(connection: Connection, user_id: str, limit: int, after: ConversationCursor | None) -> ConversationPage:
    """Returns a user's conversations, the most recently written to first."""
    place = tuple_(_c.update_ns, _c.id)
    query = select(_c.id, _c.size).where(_c.user_id == user_id, expiry_rows.LIVE)
    if after is not None:
        query = query.where(place < (after.update_ns, after.id))
    found = connection.execute(query.order_by(_c.update_ns.desc(), _c.id.desc()).limit(limit + 1)).all()
    taken = within_bytes([row.size for row in found[:limit]])
    ids = [row.id for row in found[:taken]]
    rows = connection.execute(select(*_COLUMNS).where(_c.id.in_(ids)).order_by(_c.update_ns.desc(), _c.id.desc())).all()
    return ConversationPage(tuple(_conversation(row) for row in rows), more=len(found) > taken)


def every_id(connection: Connection, user_id: str) -> list[str]:
    """Returns the ids of all conversations of a user, the oldest first."""
    mine = select(_c.id).where(_c.user_id == user_id, expiry_rows.LIVE)
    return list(connection.execute(mine.order_by(_c.create_ns, _c.id)).scalars())


def create(connection: Connection, draft: ConversationDraft, request: WriteRequest) -> Conversation:
    """Starts a conversation. A repeated request returns it as it is now."""
    done = requests.find(connection, request)
    if done is not None:
        return owned(connection, request.user_id, done.conversation_id or "")
    now = time.time_ns()
    created = Conversation(
        uuid.uuid4().hex,
        draft.title,
        draft.system_prompt,
        now,
        now,
        0,
        0,
        1,
        draft.expire_ns,
        title_source=draft.title_source,
    )
    _insert(connection, request.user_id, created)
    requests.remember(connection, request, Outcome(conversation_id=created.id))
    return created


def create_imported(connection: Connection, user_id: str, imported: ImportedConversation) -> Conversation:
    """Starts a conversation of an import, which keeps its times and its place in lists."""
    now = time.time_ns()
    created = Conversation(
        uuid.uuid4().hex,
        imported.draft.title,
        imported.draft.system_prompt,
        now if imported.create_ns is None else imported.create_ns,
        now if imported.update_ns is None else imported.update_ns,
        len(imported.messages),
        sum(not message.superseded for message in imported.messages),
        imported.window_start_sequence,
        imported.draft.expire_ns,
        imported.summary,
        imported.draft.title_source,
    )
    _insert(connection, user_id, created)
    return created


def change(
    connection: Connection, conversation_id: str, wanted: ConversationChange, request: WriteRequest
) -> Conversation:
    """Changes a conversation. A repeated request changes nothing and returns it as it is now.

    Raises:
        ConversationNotFound: There is none, or it is another user's.
        ConversationChanged: It is not as the change expects it.
        InvalidArgument: The window would start past the next message, or the summary cover what was not said yet.
    """
    done = requests.find(connection, request)
    now = owned(connection, request.user_id, conversation_id, lock=True)
    if done is not None:
        return now
    _check_expected(now, wanted.expected)
    window = now.window_start_sequence if wanted.window_start_sequence is None else wanted.window_start_sequence
    if window > now.last_sequence + 1:
        raise invalid_field(
            "conversation.window_start_sequence", f"must be at most {now.last_sequence + 1}, the next sequence"
        )
    summary = now.summary if wanted.summary is None else wanted.summary
    if summary.through_sequence > now.last_sequence:
        raise invalid_field(
            "conversation.summary_through_sequence", f"must be at most {now.last_sequence}, the last sequence"
        )
    # What the service's own work changes is no use of the conversation: lists and retention go by what people do.
    own_work = wanted.summary is not None or wanted.title_source is TitleSource.MODEL
    changed = Conversation(
        now.id,
        now.title if wanted.title is None else wanted.title,
        now.system_prompt if wanted.system_prompt is None else wanted.system_prompt,
        now.create_ns,
        now.update_ns if own_work else _later(now.update_ns),
        now.last_sequence,
        now.message_count,
        window,
        now.expire_ns if wanted.expiry is None else wanted.expiry.at_ns,
        summary,
        now.title_source if wanted.title_source is None else wanted.title_source,
    )
    connection.execute(
        update(conversations)
        .where(_c.id == now.id)
        .values(
            title=changed.title,
            system_prompt=changed.system_prompt,
            size=_size(changed),
            update_ns=changed.update_ns,
            window_start_sequence=changed.window_start_sequence,
            expire_ns=changed.expire_ns,
            summary=changed.summary.text,
            summary_through_sequence=changed.summary.through_sequence,
            title_source=int(changed.title_source),
        )
    )
    requests.remember(connection, request, Outcome(conversation_id=now.id))
    return changed


def forget_summary(connection: Connection, conversation: Conversation) -> None:
    """Empties a conversation's summary: some of what it sums up counts no more."""
    without = replace(conversation, summary=NO_SUMMARY)
    connection.execute(
        update(conversations)
        .where(_c.id == conversation.id)
        .values(summary="", summary_through_sequence=0, size=_size(without))
    )


def grow(connection: Connection, conversation: Conversation, appended: int, superseded: int) -> None:
    """Notes how many messages were appended, and how many earlier ones that superseded."""
    _GROW.run(
        connection,
        {
            "grown_id": conversation.id,
            "new_last_sequence": conversation.last_sequence + appended,
            "new_message_count": conversation.message_count + appended - superseded,
            "new_update_ns": _later(conversation.update_ns),
        },
    )


def remove(connection: Connection, conversation_id: str, request: WriteRequest) -> None:
    """Deletes a conversation and all that hangs on it. A repeated request does nothing.

    Raises:
        ConversationNotFound: There is none, or it is another user's.
    """
    if requests.find(connection, request) is not None:
        return
    owned(connection, request.user_id, conversation_id, lock=True)
    connection.execute(delete(conversations).where(_c.id == conversation_id))
    vector_rows.count_deletion(connection, request.user_id)
    requests.remember(connection, request, Outcome())


def remove_all(connection: Connection, request: WriteRequest) -> Counts:
    """Deletes everything of a user. A repeated request does nothing and returns the first counts."""
    done = requests.find(connection, request)
    if done is None:
        mine = _c.user_id == request.user_id
        # The places of messages stay where their text was deleted, so the last sequence is their number.
        counts = connection.execute(
            select(func.count(), func.coalesce(func.sum(_c.last_sequence), 0)).where(mine, expiry_rows.LIVE)
        ).one()
        # PostgreSQL adds whole numbers up to a decimal.
        done = Outcome(conversation_count=counts[0], message_count=int(counts[1]))
        connection.execute(delete(conversations).where(mine))
        vector_rows.forget_user(connection, request.user_id)
        requests.remember(connection, request, done)
    return Counts(done.conversation_count, done.message_count)


def _insert(connection: Connection, user_id: str, created: Conversation) -> None:
    connection.execute(
        insert(conversations).values(
            id=created.id,
            user_id=user_id,
            title=created.title,
            system_prompt=created.system_prompt,
            size=_size(created),
            create_ns=created.create_ns,
            update_ns=created.update_ns,
            last_sequence=created.last_sequence,
            message_count=created.message_count,
            window_start_sequence=created.window_start_sequence,
            expire_ns=created.expire_ns,
            summary=created.summary.text,
            summary_through_sequence=created.summary.through_sequence,
            title_source=int(created.title_source),
        )
    )


def _size(conversation: Conversation) -> int:
    texts = (conversation.title, conversation.system_prompt, conversation.summary.text)
    return sum(len(text.encode()) for text in texts)


def _check_expected(now: Conversation, expected: ExpectedState) -> None:
    pairs = (
        (expected.window_start_sequence, now.window_start_sequence),
        (expected.summary_through_sequence, now.summary.through_sequence),
        (expected.title_source, now.title_source),
    )
    if any(wanted is not None and wanted != found for wanted, found in pairs):
        raise ConversationChanged("The conversation is not as it is expected to be; read it again.")


def _later(than_ns: int) -> int:
    # A clock that was set back does not move a conversation down the list.
    return max(time.time_ns(), than_ns + 1)


def _conversation(row: Sequence[Any]) -> Conversation:
    plain = dict(zip(_PLAIN, row, strict=False))
    summary, summary_through_sequence, title_source = row[len(_PLAIN) :]
    return Conversation(
        **plain, summary=Summary(summary, summary_through_sequence), title_source=TitleSource(title_source)
    )
