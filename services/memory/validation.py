"""Requests of the wire to domain values, or the reason why not."""

from __future__ import annotations

import copy
import hashlib
import time
from dataclasses import replace
from typing import TypeAlias

from chatbot.v1 import chat_message_pb2, memory_service_pb2
from services.memory import field_checks as check
from services.memory.conversation import (
    ConversationChange,
    ConversationDraft,
    ExpectedState,
    Expiry,
    Summary,
    TitleSource,
)
from services.memory.message import (
    NO_FILTER,
    Append,
    FinishReason,
    MessageDraft,
    MessageFilter,
    MessageRange,
    Role,
    Usage,
)
from services.memory.resource_name import MessageName, parse_conversation, parse_message
from services.memory.search import SearchQuery
from services.memory.store import WriteRequest
from services.rpc.errors import invalid_field
from services.rpc.request_rules import check_text

_MAX_MESSAGES = 1000
_MAX_APPEND_BYTES = 8_000_000
_MAX_FILTER_ENTRIES = 100
_MAX_NEIGHBOURS = 10
_MAX_QUOTES = 100
_MAX_NAMES = 1000
_MAX_TEXTS = 64
_UPDATABLE = (
    "title",
    "title_source",
    "system_prompt",
    "window_start_sequence",
    "summary",
    "summary_through_sequence",
    "expire_time",
    "ttl",
)
_SUMMARY = {"summary", "summary_through_sequence"}
_MAX_SUMMARY_CHARACTERS = 20_000


_Write: TypeAlias = (
    memory_service_pb2.CreateConversationRequest
    | memory_service_pb2.UpdateConversationRequest
    | memory_service_pb2.DeleteConversationRequest
    | memory_service_pb2.AppendMessagesRequest
    | memory_service_pb2.DeleteMessagesRequest
    | memory_service_pb2.DeleteUserDataRequest
)


def write_request(request: _Write) -> WriteRequest:
    """Returns who writes under which id, with a digest of the request's kind and of all that it asks for."""
    content = copy.deepcopy(request)
    content.ClearField("request_id")
    if isinstance(content, memory_service_pb2.AppendMessagesRequest):
        # What the caller had read when it asked, not what it asks for: it has read more when it asks again.
        content.ClearField("expected_last_sequence")
    if isinstance(content, memory_service_pb2.UpdateConversationRequest):
        for field in ("window_start_sequence", "summary_through_sequence", "title_source"):
            content.ClearField(f"expected_{field}")
    digest = hashlib.sha256(content.DESCRIPTOR.full_name.encode() + b"\0")
    digest.update(content.SerializeToString(deterministic=True))
    return WriteRequest(
        check.user("user_id", request.user_id),
        check.request_id("request_id", request.request_id),
        digest.digest(),
    )


def conversation_draft(field: str, given: memory_service_pb2.Conversation) -> ConversationDraft:
    """Returns what a conversation is started with."""
    return ConversationDraft(
        check.short_text(f"{field}.title", given.title),
        check.text(f"{field}.system_prompt", given.system_prompt),
        _expire_ns(field, given),
        _known_source(f"{field}.title_source", given.title_source),
    )


def new_conversation(given: memory_service_pb2.Conversation) -> ConversationDraft:
    """Returns what a conversation is started with that somebody asks for."""
    draft = conversation_draft("conversation", given)
    # Who gives a title without a word of where it comes from means it.
    asked = draft.title and draft.title_source is TitleSource.UNSPECIFIED
    return replace(draft, title_source=TitleSource.USER) if asked else draft


def summary(field: str, given: memory_service_pb2.Conversation) -> Summary:
    """Returns a conversation's summary."""
    text = check.text(f"{field}.summary", given.summary)
    if len(text) > _MAX_SUMMARY_CHARACTERS:
        raise invalid_field(f"{field}.summary", f"must have at most {_MAX_SUMMARY_CHARACTERS} characters")
    through = check.not_negative(f"{field}.summary_through_sequence", given.summary_through_sequence)
    if bool(text) != bool(through):
        raise invalid_field(f"{field}.summary_through_sequence", "must be 0 where there is no summary, and only there")
    return Summary(text, through)


def conversation_change(request: memory_service_pb2.UpdateConversationRequest) -> ConversationChange:
    """Returns what is to be changed: the fields that the mask names, and no other."""
    paths = set(request.update_mask.paths)
    if not paths or not paths.issubset(_UPDATABLE):
        raise invalid_field("update_mask", f"must name one or more of {', '.join(_UPDATABLE)}, and nothing else")
    if paths & _SUMMARY and not paths >= _SUMMARY:
        raise invalid_field("update_mask", "must name summary and summary_through_sequence together")
    given = request.conversation
    draft = conversation_draft("conversation", given)
    return ConversationChange(
        title=draft.title if "title" in paths else None,
        system_prompt=draft.system_prompt if "system_prompt" in paths else None,
        window_start_sequence=check.positive("conversation.window_start_sequence", given.window_start_sequence)
        if "window_start_sequence" in paths
        else None,
        expiry=Expiry(draft.expire_ns) if paths & {"expire_time", "ttl"} else None,
        summary=summary("conversation", given) if paths & _SUMMARY else None,
        title_source=_changed_source(paths, draft),
        expected=ExpectedState(
            request.expected_window_start_sequence if request.HasField("expected_window_start_sequence") else None,
            request.expected_summary_through_sequence
            if request.HasField("expected_summary_through_sequence")
            else None,
            _known_source("expected_title_source", request.expected_title_source)
            if request.HasField("expected_title_source")
            else None,
        ),
    )


def append(request: memory_service_pb2.AppendMessagesRequest) -> Append:
    """Returns what is to be appended."""
    if not 1 <= len(request.messages) <= _MAX_MESSAGES:
        raise invalid_field("messages", f"must be 1 to {_MAX_MESSAGES}")
    if request.ByteSize() > _MAX_APPEND_BYTES:
        raise invalid_field("messages", f"must have at most {_MAX_APPEND_BYTES} bytes together")
    expected = request.expected_last_sequence if request.HasField("expected_last_sequence") else None
    supersede = request.supersede_from_sequence if request.HasField("supersede_from_sequence") else None
    return Append(
        parse_conversation("conversation", request.conversation),
        tuple(message_draft(f"messages[{i}]", message) for i, message in enumerate(request.messages)),
        None if expected is None else check.not_negative("expected_last_sequence", expected),
        None if supersede is None else check.positive("supersede_from_sequence", supersede),
    )


def deleted_range(request: memory_service_pb2.DeleteMessagesRequest) -> MessageRange:
    """Returns what is to be deleted."""
    start = check.positive("start_sequence", request.start_sequence)
    return MessageRange(
        parse_conversation("conversation", request.conversation),
        start,
        _end("end_sequence", request.end_sequence, start),
    )


def message_draft(field: str, given: chat_message_pb2.ChatMessage) -> MessageDraft:
    """Returns a message that is to be stored."""
    role = _role(f"{field}.role", given.role)
    try:
        finish_reason = FinishReason(given.finish_reason)
    except ValueError:
        raise invalid_field(f"{field}.finish_reason", "must be a finish reason of the protocol") from None
    content = check.text(f"{field}.content", given.content)
    # A model may end its turn, or be stopped, before it has said anything.
    if not content and (role is not Role.ASSISTANT or finish_reason is FinishReason.UNSPECIFIED):
        raise invalid_field(f"{field}.content", "must not be empty, except in a reply that has a finish_reason")
    if len(given.quotes) > _MAX_QUOTES:
        raise invalid_field(f"{field}.quotes", f"must be at most {_MAX_QUOTES}")
    return MessageDraft(
        role,
        content,
        check.short_text(f"{field}.author", given.author) if given.HasField("author") else None,
        check.time_ns(f"{field}.create_time", given.create_time) if given.HasField("create_time") else None,
        finish_reason,
        _usage(f"{field}.usage", given.usage) if given.HasField("usage") else None,
        parse_message(f"{field}.reply_to", given.reply_to) if given.reply_to else None,
        tuple(parse_message(f"{field}.quotes[{i}]", name) for i, name in enumerate(given.quotes)),
        check.not_negative(f"{field}.quotes_start_sequence", given.quotes_start_sequence),
    )


def message_names(request: memory_service_pb2.BatchGetMessagesRequest) -> list[MessageName]:
    """Returns the names of the messages that are asked for."""
    if not 1 <= len(request.names) <= _MAX_NAMES:
        raise invalid_field("names", f"must be 1 to {_MAX_NAMES}")
    return [parse_message(f"names[{i}]", name) for i, name in enumerate(request.names)]


def message_filter(given: memory_service_pb2.MessageFilter) -> MessageFilter:
    """Returns what narrows a list or a search."""
    for field, values in (("filter.roles", given.roles), ("filter.authors", given.authors)):
        if len(values) > _MAX_FILTER_ENTRIES:
            raise invalid_field(field, f"must be at most {_MAX_FILTER_ENTRIES}")
    start = check.time_ns("filter.start_time", given.start_time) if given.HasField("start_time") else None
    end = check.time_ns("filter.end_time", given.end_time) if given.HasField("end_time") else None
    if start is not None and end is not None and start >= end:
        raise invalid_field("filter.end_time", "must be later than filter.start_time")
    return MessageFilter(
        frozenset(_role(f"filter.roles[{i}]", role) for i, role in enumerate(given.roles)),
        frozenset(check.short_text(f"filter.authors[{i}]", author) for i, author in enumerate(given.authors)),
        start,
        end,
    )


def newest_first(order: int) -> bool:
    """Returns which way a list runs."""
    if order not in memory_service_pb2.ListOrder.values():
        raise invalid_field("order", "must be an order of the protocol")
    return order == memory_service_pb2.LIST_ORDER_NEWEST_FIRST


def search_query(request: memory_service_pb2.SearchMessagesRequest) -> SearchQuery:
    """Returns what is to be found."""
    text = check.text("query", request.query)
    if not text.strip():
        raise invalid_field("query", "must not be empty")
    if len(request.exclude) > _MAX_FILTER_ENTRIES:
        raise invalid_field("exclude", f"must be at most {_MAX_FILTER_ENTRIES}")
    return SearchQuery(
        text,
        check.count("limit", request.limit, default=10),
        parse_conversation("conversation", request.conversation) if request.conversation else None,
        message_filter(request.filter) if request.HasField("filter") else NO_FILTER,
        tuple(_range(f"exclude[{i}]", stretch) for i, stretch in enumerate(request.exclude)),
        check.at_most("neighbours", request.neighbours, _MAX_NEIGHBOURS),
        check.duration_ns("recency_half_life", request.recency_half_life)
        if request.HasField("recency_half_life")
        else None,
    )


def _known_source(field: str, given: int) -> TitleSource:
    try:
        return TitleSource(given)
    except ValueError:
        raise invalid_field(field, "must be a title source of the protocol") from None


def _changed_source(paths: set[str], draft: ConversationDraft) -> TitleSource | None:
    if "title_source" in paths:
        return draft.title_source
    return TitleSource.USER if "title" in paths else None


def _expire_ns(field: str, given: memory_service_pb2.Conversation) -> int | None:
    if given.HasField("ttl"):
        return time.time_ns() + check.ttl_ns(f"{field}.ttl", given.ttl)
    return check.time_ns(f"{field}.expire_time", given.expire_time) if given.HasField("expire_time") else None


def _range(field: str, given: memory_service_pb2.MessageRange) -> MessageRange:
    conversation = parse_conversation(f"{field}.conversation", given.conversation)
    start = check.not_negative(f"{field}.start_sequence", given.start_sequence)
    return MessageRange(conversation, start, _end(f"{field}.end_sequence", given.end_sequence, start))


def _end(field: str, given: int, start: int) -> int | None:
    end = check.not_negative(field, given)
    if end and end < start:
        raise invalid_field(field, "must be 0 or not less than start_sequence")
    return end or None


def _role(field: str, given: int) -> Role:
    try:
        return Role(given)
    except ValueError:
        raise invalid_field(field, "must be ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT") from None


def _usage(field: str, given: chat_message_pb2.Usage) -> Usage:
    return Usage(
        check.not_negative(f"{field}.prompt_tokens", given.prompt_tokens),
        check.not_negative(f"{field}.cached_tokens", given.cached_tokens),
        check.not_negative(f"{field}.completion_tokens", given.completion_tokens),
    )


def texts_to_embed(request: memory_service_pb2.EmbedTextsRequest) -> list[str]:
    """Returns the texts of a request to embed some."""
    if not 1 <= len(request.texts) <= _MAX_TEXTS:
        raise invalid_field("texts", f"must have 1 to {_MAX_TEXTS} texts")
    for place, text in enumerate(request.texts):
        check_text(text, f"texts[{place}]")
    return list(request.texts)
