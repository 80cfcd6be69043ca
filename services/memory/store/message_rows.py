"""Messages in the database.

An operation that refuses does so before its first write: the writer relies on that (see `writer`).
"""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, bindparam, delete, func, insert, or_, select, update

from services.memory.conversation import Counts
from services.memory.message import NO_FILTER, Appended, Message, MessagePage
from services.memory.store import conversation_rows, expiry_rows, requests, vector_rows
from services.memory.store.hot_statement import MOST_AT_ONCE, HotList, HotPairs, HotStatement
from services.memory.store.message_row import COLUMNS, message_of, values_of
from services.memory.store.paging import MAX_ANSWER_BYTES, within_bytes
from services.memory.store.requests import Outcome, WriteRequest
from services.memory.store.tables import conversations, messages, unembedded, vectors
from services.rpc.errors import MessageNotFound, SequenceMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import BindParameter, ColumnElement, Connection, Select

    from services.memory.conversation import Conversation, ImportedConversation
    from services.memory.message import Append, MessageDraft, MessageFilter, MessageQuery
    from services.memory.resource_name import MessageName
    from services.memory.store.hot_statement import Pair

_m = messages.c

_INSERT = insert(messages).returning(_m.id, sort_by_parameter_order=True)
_INSERT_ONE = HotStatement(
    insert(messages).values({c.name: bindparam(c.name) for c in _m if c is not _m.id}).returning(_m.id)
)
_QUEUE = insert(unembedded)
_QUEUE_ONE = HotStatement(_QUEUE.values({c.name: bindparam(c.name) for c in unembedded.c}))
_LIVE_OF_USER = (
    select(conversations.c.id)
    .where(conversations.c.id == _m.conversation_id, conversations.c.user_id == bindparam("wanted_user"))
    .where(expiry_rows.LIVE)
)


def _sizes_of_mine(ids: Sequence[BindParameter[int]]) -> Select[Any]:
    return select(_m.id, _m.size).where(_m.id.in_(ids), ~_m.superseded, _LIVE_OF_USER.exists())


def _ids_at(places: Sequence[Pair]) -> Select[Any]:
    # A list of pairs SQLite would compare with every message that there is.
    at = (and_(_m.conversation_id == conversation, _m.sequence == sequence) for conversation, sequence in places)
    return select(_m.id, _m.conversation_id, _m.sequence).where(or_(*at))


def _with_ids(ids: Sequence[BindParameter[int]]) -> Select[Any]:
    return select(*COLUMNS).where(_m.id.in_(ids))


def _mine_if_few_bytes(ids: Sequence[BindParameter[int]]) -> Select[Any]:
    whole = select(func.sum(_m.size)).where(_m.id.in_(ids)).scalar_subquery()
    mine = select(*COLUMNS).where(_m.id.in_(ids), ~_m.superseded, _LIVE_OF_USER.exists())
    return mine.where(whole <= MAX_ANSWER_BYTES)


def _page(newest_first: bool, superseded: bool, goes_on: bool) -> Select[Any]:
    """Returns what finds a page; `superseded`: such messages are shown, too; `goes_on`: one came before it."""
    after: BindParameter[int] = bindparam("after")
    where = [_m.conversation_id == bindparam("wanted_id"), _m.sequence >= bindparam("start")]
    if not superseded:
        where.append(~_m.superseded)
    if goes_on:
        where.append(_m.sequence < after if newest_first else _m.sequence > after)
    order = _m.sequence.desc() if newest_first else _m.sequence.asc()
    return select(_m.id, _m.size).where(*where).order_by(order).limit(bindparam("at_most", type_=Integer()))


_PAGES = {shape: HotStatement(_page(*shape)) for shape in product((False, True), repeat=3)}
_SIZES_OF_MINE = HotList(_sizes_of_mine)
_BY_IDS = HotList(_with_ids)
_MINE_IF_FEW_BYTES = HotList(_mine_if_few_bytes)
_IDS_AT = HotPairs(_ids_at)


def append(connection: Connection, wanted: Append, request: WriteRequest, replica: str | None) -> Appended:
    """Appends messages, to be embedded by `replica`. A repeated request returns them as they are now.

    Raises:
        ConversationNotFound: There is none, it is another user's, or it was deleted since the first request.
        MessageNotFound: A `reply_to` names no earlier message of the conversation.
        SequenceMismatch: The conversation's last sequence is not the expected one.
    """
    done = requests.find(connection, request)
    conversation = conversation_rows.owned(connection, request.user_id, wanted.conversation_id, lock=True)
    if done is not None:
        first = done.first_sequence or 0
        rows = connection.execute(
            select(*COLUMNS)
            .where(
                _m.conversation_id == conversation.id,
                _m.sequence.between(first, first + done.message_count - 1),
            )
            .order_by(_m.sequence)
        )
        return Appended(tuple(message_of(row) for row in rows), replayed=True)
    last = conversation.last_sequence
    if wanted.expected_last_sequence not in (None, last):
        raise SequenceMismatch(
            f"The conversation's last sequence is {last}, not {wanted.expected_last_sequence}.",
            metadata={
                "last_sequence": str(last),
                "expected_last_sequence": str(wanted.expected_last_sequence),
            },
        )
    now = time.time_ns()
    stored = tuple(
        _placed(draft, conversation, last + number, now, request.request_id)
        for number, draft in enumerate(wanted.drafts, start=1)
    )
    superseded = 0
    if wanted.supersede_from_sequence is not None:
        superseded = _supersede(connection, request.user_id, conversation.id, wanted.supersede_from_sequence)
        if wanted.supersede_from_sequence <= conversation.summary.through_sequence:
            conversation_rows.forget_summary(connection, conversation)
    _insert(connection, request.user_id, stored, replica)
    conversation_rows.grow(connection, conversation, len(stored), superseded)
    requests.remember(
        connection,
        request,
        Outcome(conversation_id=conversation.id, first_sequence=stored[0].sequence, message_count=len(stored)),
    )
    return Appended(stored, replayed=False)


def take_in(
    connection: Connection, imported: Sequence[ImportedConversation], request: WriteRequest, replica: str | None
) -> Counts:
    """Stores an import, to be embedded by `replica`. A repeated request stores nothing and returns the first counts."""
    done = requests.find(connection, request)
    if done is None:
        for each in imported:
            _take_in(connection, request.user_id, each, request.request_id, replica)
        done = Outcome(conversation_count=len(imported), message_count=sum(len(each.messages) for each in imported))
        requests.remember(connection, request, done)
    return Counts(done.conversation_count, done.message_count)


def take_in_users(
    connection: Connection,
    read: Callable[[], Iterator[tuple[str, ImportedConversation]]],
    request_id: str,
    replica: str | None,
) -> Counts:
    """Stores conversations of several users, to be embedded by `replica`.

    No user is locked: all rows are new, so nothing of it is in the way of another transaction.

    Raises:
        ChatbotError: What `read` raised; the transaction holds nothing of the import then.
    """
    conversation_count = message_count = 0
    with connection.begin_nested():
        for user_id, each in read():
            _take_in(connection, user_id, each, request_id, replica)
            conversation_count += 1
            message_count += len(each.messages)
    return Counts(conversation_count, message_count)


def page(connection: Connection, query: MessageQuery) -> MessagePage:
    """Returns a page of a conversation. Whose that is must have been checked."""
    shape = query.newest_first, query.include_superseded, query.after is not None
    given = {
        "wanted_id": query.conversation_id,
        "start": query.start_sequence,
        "after": query.after,
        "at_most": query.limit + 1,
    }
    found: Sequence[Sequence[Any]]
    if query.filter == NO_FILTER:
        found = _PAGES[shape].rows(connection, given)
    else:
        found = connection.execute(_page(*shape).where(*_narrowed(query.filter)), given).all()
    taken = within_bytes([size for _, size in found[: query.limit]])
    ids = [message_id for message_id, _ in found[:taken]]
    row_of = {row[0]: row for row in _BY_IDS.rows(connection, ids, {})}
    return MessagePage(tuple(message_of(row_of[i]) for i in ids), more=len(found) > taken)


def by_ids(connection: Connection, user_id: str, ids: Sequence[int]) -> dict[int, Message]:
    """Returns those of the messages that are the user's and not superseded.

    In the order of `ids`, as many as fit one answer.
    """
    if len(ids) <= MOST_AT_ONCE:
        # Nearly always all fit, and one statement is all.
        mine = {row[0]: row for row in _MINE_IF_FEW_BYTES.rows(connection, ids, {"wanted_user": user_id})}
        if mine:
            return {i: message_of(mine[i]) for i in ids if i in mine}
    size_of: dict[int, int] = dict(map(tuple, _SIZES_OF_MINE.rows(connection, ids, {"wanted_user": user_id})))
    live = [i for i in ids if i in size_of]
    taken = live[: within_bytes([size_of[i] for i in live])]
    found = {row[0]: message_of(row) for row in _BY_IDS.rows(connection, taken, {})}
    return {i: found[i] for i in taken}


def by_names(connection: Connection, user_id: str, names: Sequence[MessageName]) -> tuple[Message, ...]:
    """As `by_ids`, by resource names."""
    places = [(name.conversation_id, name.sequence) for name in dict.fromkeys(names)]
    id_at = {(conversation, sequence): i for i, conversation, sequence in _IDS_AT.rows(connection, places)}
    return tuple(by_ids(connection, user_id, [id_at[place] for place in places if place in id_at]).values())


def _placed(draft: MessageDraft, conversation: Conversation, sequence: int, now_ns: int, request_id: str) -> Message:
    target = draft.reply_to
    if target is not None and not (target.conversation_id == conversation.id and 1 <= target.sequence < sequence):
        raise MessageNotFound("reply_to names no earlier message of the conversation.")
    return Message(
        conversation.id,
        sequence,
        draft.role,
        draft.content,
        draft.author,
        now_ns if draft.create_ns is None else draft.create_ns,
        draft.finish_reason,
        draft.usage,
        None if target is None else target.sequence,
        superseded=False,
        request_id=request_id,
        quotes=draft.quotes,
        quotes_start=draft.quotes_start,
    )


def _supersede(connection: Connection, user_id: str, conversation_id: str, from_sequence: int) -> int:
    """Marks messages superseded and returns how many were not so before."""
    gone = select(_m.id).where(_m.conversation_id == conversation_id, _m.sequence >= from_sequence)
    connection.execute(delete(vectors).where(vectors.c.message_id.in_(gone)))
    connection.execute(delete(unembedded).where(unembedded.c.message_id.in_(gone)))
    marked = connection.execute(
        update(messages)
        .where(_m.conversation_id == conversation_id, _m.sequence >= from_sequence, ~_m.superseded)
        .values(superseded=True)
    )
    vector_rows.count_deletion(connection, user_id)
    return marked.rowcount


def _take_in(
    connection: Connection, user_id: str, each: ImportedConversation, request_id: str, replica: str | None
) -> None:
    created = conversation_rows.create_imported(connection, user_id, each)
    stored = [
        Message(
            created.id,
            sequence,
            one.draft.role,
            one.draft.content,
            one.draft.author,
            created.create_ns if one.draft.create_ns is None else one.draft.create_ns,
            one.draft.finish_reason,
            one.draft.usage,
            one.reply_to,
            one.superseded,
            one.request_id or request_id,
        )
        for sequence, one in enumerate(each.messages, start=1)
    ]
    _insert(connection, user_id, stored, replica)


def _insert(connection: Connection, user_id: str, stored: Sequence[Message], replica: str | None) -> None:
    if not stored:
        return
    values = [values_of(message) for message in stored]
    if len(values) == 1:
        ids = [_INSERT_ONE.rows(connection, values[0])[0][0]]
    else:
        ids = list(connection.execute(_INSERT, values).scalars())
    # An empty reply has no meaning to find, and a superseded message must not be found.
    waiting = [
        {"message_id": i, "user_id": user_id, "awaited": True, "replica": replica}
        for i, message in zip(ids, stored, strict=True)
        if message.content and not message.superseded
    ]
    if len(waiting) == 1:
        _QUEUE_ONE.run(connection, waiting[0])
    elif waiting:
        connection.execute(_QUEUE, waiting)


def _narrowed(narrowing: MessageFilter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if narrowing.roles:
        where.append(_m.role.in_(sorted(int(role) for role in narrowing.roles)))
    if narrowing.authors:
        where.append(_m.author.in_(sorted(narrowing.authors)))
    if narrowing.start_ns is not None:
        where.append(_m.create_ns >= narrowing.start_ns)
    if narrowing.end_ns is not None:
        where.append(_m.create_ns < narrowing.end_ns)
    return where
