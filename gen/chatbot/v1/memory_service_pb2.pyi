import datetime

from chatbot.v1 import chat_message_pb2 as _chat_message_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TitleSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TITLE_SOURCE_UNSPECIFIED: _ClassVar[TitleSource]
    TITLE_SOURCE_USER: _ClassVar[TitleSource]
    TITLE_SOURCE_FIRST_MESSAGE: _ClassVar[TitleSource]
    TITLE_SOURCE_MODEL: _ClassVar[TitleSource]

class ListOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIST_ORDER_UNSPECIFIED: _ClassVar[ListOrder]
    LIST_ORDER_OLDEST_FIRST: _ClassVar[ListOrder]
    LIST_ORDER_NEWEST_FIRST: _ClassVar[ListOrder]
TITLE_SOURCE_UNSPECIFIED: TitleSource
TITLE_SOURCE_USER: TitleSource
TITLE_SOURCE_FIRST_MESSAGE: TitleSource
TITLE_SOURCE_MODEL: TitleSource
LIST_ORDER_UNSPECIFIED: ListOrder
LIST_ORDER_OLDEST_FIRST: ListOrder
LIST_ORDER_NEWEST_FIRST: ListOrder

class Conversation(_message.Message):
    __slots__ = ("name", "title", "system_prompt", "create_time", "update_time", "last_sequence", "window_start_sequence", "message_count", "expire_time", "ttl", "summary", "summary_through_sequence", "title_source")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_PROMPT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_THROUGH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TITLE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    system_prompt: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    last_sequence: int
    window_start_sequence: int
    message_count: int
    expire_time: _timestamp_pb2.Timestamp
    ttl: _duration_pb2.Duration
    summary: str
    summary_through_sequence: int
    title_source: TitleSource
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., system_prompt: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_sequence: _Optional[int] = ..., window_start_sequence: _Optional[int] = ..., message_count: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., summary: _Optional[str] = ..., summary_through_sequence: _Optional[int] = ..., title_source: _Optional[_Union[TitleSource, str]] = ...) -> None: ...

class CreateConversationRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "request_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: Conversation
    request_id: str
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[_Union[Conversation, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: Conversation
    def __init__(self, conversation: _Optional[_Union[Conversation, _Mapping]] = ...) -> None: ...

class GetConversationRequest(_message.Message):
    __slots__ = ("user_id", "conversation")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ...) -> None: ...

class GetConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: Conversation
    def __init__(self, conversation: _Optional[_Union[Conversation, _Mapping]] = ...) -> None: ...

class ListConversationsRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListConversationsResponse(_message.Message):
    __slots__ = ("conversations", "next_page_token")
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversations: _containers.RepeatedCompositeFieldContainer[Conversation]
    next_page_token: str
    def __init__(self, conversations: _Optional[_Iterable[_Union[Conversation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateConversationRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "update_mask", "request_id", "expected_window_start_sequence", "expected_summary_through_sequence", "expected_title_source")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_WINDOW_START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SUMMARY_THROUGH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_TITLE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: Conversation
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    expected_window_start_sequence: int
    expected_summary_through_sequence: int
    expected_title_source: TitleSource
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[_Union[Conversation, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ..., expected_window_start_sequence: _Optional[int] = ..., expected_summary_through_sequence: _Optional[int] = ..., expected_title_source: _Optional[_Union[TitleSource, str]] = ...) -> None: ...

class UpdateConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: Conversation
    def __init__(self, conversation: _Optional[_Union[Conversation, _Mapping]] = ...) -> None: ...

class DeleteConversationRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "request_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    request_id: str
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteConversationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AppendMessagesRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "messages", "request_id", "expected_last_sequence", "supersede_from_sequence")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDE_FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    request_id: str
    expected_last_sequence: int
    supersede_from_sequence: int
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., request_id: _Optional[str] = ..., expected_last_sequence: _Optional[int] = ..., supersede_from_sequence: _Optional[int] = ...) -> None: ...

class AppendMessagesResponse(_message.Message):
    __slots__ = ("messages", "replayed")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    replayed: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class DeleteMessagesRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "start_sequence", "end_sequence", "request_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    END_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    start_sequence: int
    end_sequence: int
    request_id: str
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ..., start_sequence: _Optional[int] = ..., end_sequence: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteMessagesResponse(_message.Message):
    __slots__ = ("message_count",)
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    message_count: int
    def __init__(self, message_count: _Optional[int] = ...) -> None: ...

class BatchGetMessagesRequest(_message.Message):
    __slots__ = ("user_id", "names")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_id: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchGetMessagesResponse(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ...) -> None: ...

class MessageFilter(_message.Message):
    __slots__ = ("roles", "authors", "start_time", "end_time")
    ROLES_FIELD_NUMBER: _ClassVar[int]
    AUTHORS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    roles: _containers.RepeatedScalarFieldContainer[_chat_message_pb2.Role]
    authors: _containers.RepeatedScalarFieldContainer[str]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, roles: _Optional[_Iterable[_Union[_chat_message_pb2.Role, str]]] = ..., authors: _Optional[_Iterable[str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListMessagesRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "page_size", "page_token", "order", "filter", "start_sequence", "include_superseded")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    page_size: int
    page_token: str
    order: ListOrder
    filter: MessageFilter
    start_sequence: int
    include_superseded: bool
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[ListOrder, str]] = ..., filter: _Optional[_Union[MessageFilter, _Mapping]] = ..., start_sequence: _Optional[int] = ..., include_superseded: _Optional[bool] = ...) -> None: ...

class ListMessagesResponse(_message.Message):
    __slots__ = ("messages", "next_page_token")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    next_page_token: str
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class MessageRange(_message.Message):
    __slots__ = ("conversation", "start_sequence", "end_sequence")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    END_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    start_sequence: int
    end_sequence: int
    def __init__(self, conversation: _Optional[str] = ..., start_sequence: _Optional[int] = ..., end_sequence: _Optional[int] = ...) -> None: ...

class SearchMessagesRequest(_message.Message):
    __slots__ = ("user_id", "query", "limit", "conversation", "filter", "exclude", "neighbours", "recency_half_life")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    RECENCY_HALF_LIFE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    query: str
    limit: int
    conversation: str
    filter: MessageFilter
    exclude: _containers.RepeatedCompositeFieldContainer[MessageRange]
    neighbours: int
    recency_half_life: _duration_pb2.Duration
    def __init__(self, user_id: _Optional[str] = ..., query: _Optional[str] = ..., limit: _Optional[int] = ..., conversation: _Optional[str] = ..., filter: _Optional[_Union[MessageFilter, _Mapping]] = ..., exclude: _Optional[_Iterable[_Union[MessageRange, _Mapping]]] = ..., neighbours: _Optional[int] = ..., recency_half_life: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SearchHit(_message.Message):
    __slots__ = ("message", "score", "similarity", "word_share", "dense", "lexical", "prior", "before", "after")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    WORD_SHARE_FIELD_NUMBER: _ClassVar[int]
    DENSE_FIELD_NUMBER: _ClassVar[int]
    LEXICAL_FIELD_NUMBER: _ClassVar[int]
    PRIOR_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    message: _chat_message_pb2.ChatMessage
    score: float
    similarity: float
    word_share: float
    dense: float
    lexical: float
    prior: float
    before: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    after: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    def __init__(self, message: _Optional[_Union[_chat_message_pb2.ChatMessage, _Mapping]] = ..., score: _Optional[float] = ..., similarity: _Optional[float] = ..., word_share: _Optional[float] = ..., dense: _Optional[float] = ..., lexical: _Optional[float] = ..., prior: _Optional[float] = ..., before: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., after: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ...) -> None: ...

class SearchMessagesResponse(_message.Message):
    __slots__ = ("hits", "close_similarity")
    HITS_FIELD_NUMBER: _ClassVar[int]
    CLOSE_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[SearchHit]
    close_similarity: float
    def __init__(self, hits: _Optional[_Iterable[_Union[SearchHit, _Mapping]]] = ..., close_similarity: _Optional[float] = ...) -> None: ...

class ExportMessagesRequest(_message.Message):
    __slots__ = ("user_id", "conversation")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ...) -> None: ...

class ExportRecord(_message.Message):
    __slots__ = ("conversation", "message")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    conversation: Conversation
    message: _chat_message_pb2.ChatMessage
    def __init__(self, conversation: _Optional[_Union[Conversation, _Mapping]] = ..., message: _Optional[_Union[_chat_message_pb2.ChatMessage, _Mapping]] = ...) -> None: ...

class ExportMessagesResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: ExportRecord
    def __init__(self, record: _Optional[_Union[ExportRecord, _Mapping]] = ...) -> None: ...

class ImportMessagesRequest(_message.Message):
    __slots__ = ("header", "record")
    class Header(_message.Message):
        __slots__ = ("user_id", "request_id")
        USER_ID_FIELD_NUMBER: _ClassVar[int]
        REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
        user_id: str
        request_id: str
        def __init__(self, user_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...
    HEADER_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    header: ImportMessagesRequest.Header
    record: ExportRecord
    def __init__(self, header: _Optional[_Union[ImportMessagesRequest.Header, _Mapping]] = ..., record: _Optional[_Union[ExportRecord, _Mapping]] = ...) -> None: ...

class ImportMessagesResponse(_message.Message):
    __slots__ = ("conversation_count", "message_count")
    CONVERSATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    conversation_count: int
    message_count: int
    def __init__(self, conversation_count: _Optional[int] = ..., message_count: _Optional[int] = ...) -> None: ...

class DeleteUserDataRequest(_message.Message):
    __slots__ = ("user_id", "request_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    request_id: str
    def __init__(self, user_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteUserDataResponse(_message.Message):
    __slots__ = ("conversation_count", "message_count")
    CONVERSATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    conversation_count: int
    message_count: int
    def __init__(self, conversation_count: _Optional[int] = ..., message_count: _Optional[int] = ...) -> None: ...

class HoldTurnRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "turn_id", "lease")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    turn_id: str
    lease: _duration_pb2.Duration
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ..., turn_id: _Optional[str] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class HoldTurnResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EndTurnRequest(_message.Message):
    __slots__ = ("user_id", "conversation", "turn_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    conversation: str
    turn_id: str
    def __init__(self, user_id: _Optional[str] = ..., conversation: _Optional[str] = ..., turn_id: _Optional[str] = ...) -> None: ...

class EndTurnResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("database", "embedding", "index_cache")
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    INDEX_CACHE_FIELD_NUMBER: _ClassVar[int]
    database: DatabaseStatus
    embedding: EmbeddingStatus
    index_cache: IndexCacheStatus
    def __init__(self, database: _Optional[_Union[DatabaseStatus, _Mapping]] = ..., embedding: _Optional[_Union[EmbeddingStatus, _Mapping]] = ..., index_cache: _Optional[_Union[IndexCacheStatus, _Mapping]] = ...) -> None: ...

class DatabaseStatus(_message.Message):
    __slots__ = ("user_count", "conversation_count", "message_count", "superseded_message_count", "text_bytes", "database_bytes")
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATABASE_BYTES_FIELD_NUMBER: _ClassVar[int]
    user_count: int
    conversation_count: int
    message_count: int
    superseded_message_count: int
    text_bytes: int
    database_bytes: int
    def __init__(self, user_count: _Optional[int] = ..., conversation_count: _Optional[int] = ..., message_count: _Optional[int] = ..., superseded_message_count: _Optional[int] = ..., text_bytes: _Optional[int] = ..., database_bytes: _Optional[int] = ...) -> None: ...

class EmbeddingStatus(_message.Message):
    __slots__ = ("embedder", "dimension", "embedded_message_count", "pending_message_count", "messages_per_second", "problem", "vectors")
    class Vectors(_message.Message):
        __slots__ = ("embedder", "count")
        EMBEDDER_FIELD_NUMBER: _ClassVar[int]
        COUNT_FIELD_NUMBER: _ClassVar[int]
        embedder: str
        count: int
        def __init__(self, embedder: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
    EMBEDDER_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDED_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    embedder: str
    dimension: int
    embedded_message_count: int
    pending_message_count: int
    messages_per_second: float
    problem: str
    vectors: _containers.RepeatedCompositeFieldContainer[EmbeddingStatus.Vectors]
    def __init__(self, embedder: _Optional[str] = ..., dimension: _Optional[int] = ..., embedded_message_count: _Optional[int] = ..., pending_message_count: _Optional[int] = ..., messages_per_second: _Optional[float] = ..., problem: _Optional[str] = ..., vectors: _Optional[_Iterable[_Union[EmbeddingStatus.Vectors, _Mapping]]] = ...) -> None: ...

class IndexCacheStatus(_message.Message):
    __slots__ = ("user_count", "size_bytes", "capacity_bytes")
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_BYTES_FIELD_NUMBER: _ClassVar[int]
    user_count: int
    size_bytes: int
    capacity_bytes: int
    def __init__(self, user_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., capacity_bytes: _Optional[int] = ...) -> None: ...

class EmbedTextsRequest(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class EmbedTextsResponse(_message.Message):
    __slots__ = ("model", "embeddings", "token_count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    token_count: int
    def __init__(self, model: _Optional[str] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., token_count: _Optional[int] = ...) -> None: ...
