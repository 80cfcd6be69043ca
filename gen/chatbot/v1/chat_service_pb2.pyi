import datetime

from chatbot.v1 import chat_message_pb2 as _chat_message_pb2
from chatbot.v1 import inference_service_pb2 as _inference_service_pb2
from chatbot.v1 import memory_service_pb2 as _memory_service_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecallConfig(_message.Message):
    __slots__ = ("enabled", "limit", "max_tokens", "min_similarity", "min_word_share")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    MIN_WORD_SHARE_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    limit: int
    max_tokens: int
    min_similarity: float
    min_word_share: float
    def __init__(self, enabled: _Optional[bool] = ..., limit: _Optional[int] = ..., max_tokens: _Optional[int] = ..., min_similarity: _Optional[float] = ..., min_word_share: _Optional[float] = ...) -> None: ...

class ChatRequest(_message.Message):
    __slots__ = ("conversation", "text", "request_id", "sampling", "recall", "supersede_from_sequence", "response_format")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDE_FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    text: str
    request_id: str
    sampling: _inference_service_pb2.SamplingConfig
    recall: RecallConfig
    supersede_from_sequence: int
    response_format: _inference_service_pb2.ResponseFormat
    def __init__(self, conversation: _Optional[str] = ..., text: _Optional[str] = ..., request_id: _Optional[str] = ..., sampling: _Optional[_Union[_inference_service_pb2.SamplingConfig, _Mapping]] = ..., recall: _Optional[_Union[RecallConfig, _Mapping]] = ..., supersede_from_sequence: _Optional[int] = ..., response_format: _Optional[_Union[_inference_service_pb2.ResponseFormat, _Mapping]] = ...) -> None: ...

class ReplyStarted(_message.Message):
    __slots__ = ("conversation", "message", "model", "sampling", "prompt_tokens", "cached_tokens", "recalled", "replayed")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    message: _chat_message_pb2.ChatMessage
    model: str
    sampling: _inference_service_pb2.SamplingConfig
    prompt_tokens: int
    cached_tokens: int
    recalled: _containers.RepeatedCompositeFieldContainer[_memory_service_pb2.SearchHit]
    replayed: bool
    def __init__(self, conversation: _Optional[str] = ..., message: _Optional[_Union[_chat_message_pb2.ChatMessage, _Mapping]] = ..., model: _Optional[str] = ..., sampling: _Optional[_Union[_inference_service_pb2.SamplingConfig, _Mapping]] = ..., prompt_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., recalled: _Optional[_Iterable[_Union[_memory_service_pb2.SearchHit, _Mapping]]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class ReplyDelta(_message.Message):
    __slots__ = ("text", "token_count", "logprobs")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    text: str
    token_count: int
    logprobs: _containers.RepeatedCompositeFieldContainer[_inference_service_pb2.TokenLogprob]
    def __init__(self, text: _Optional[str] = ..., token_count: _Optional[int] = ..., logprobs: _Optional[_Iterable[_Union[_inference_service_pb2.TokenLogprob, _Mapping]]] = ...) -> None: ...

class ReplyFinished(_message.Message):
    __slots__ = ("message", "timings")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    message: _chat_message_pb2.ChatMessage
    timings: _chat_message_pb2.GenerationTimings
    def __init__(self, message: _Optional[_Union[_chat_message_pb2.ChatMessage, _Mapping]] = ..., timings: _Optional[_Union[_chat_message_pb2.GenerationTimings, _Mapping]] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("started", "delta", "finished")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    started: ReplyStarted
    delta: ReplyDelta
    finished: ReplyFinished
    def __init__(self, started: _Optional[_Union[ReplyStarted, _Mapping]] = ..., delta: _Optional[_Union[ReplyDelta, _Mapping]] = ..., finished: _Optional[_Union[ReplyFinished, _Mapping]] = ...) -> None: ...

class RegenerateRequest(_message.Message):
    __slots__ = ("conversation", "request_id", "sampling", "recall", "response_format")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    request_id: str
    sampling: _inference_service_pb2.SamplingConfig
    recall: RecallConfig
    response_format: _inference_service_pb2.ResponseFormat
    def __init__(self, conversation: _Optional[str] = ..., request_id: _Optional[str] = ..., sampling: _Optional[_Union[_inference_service_pb2.SamplingConfig, _Mapping]] = ..., recall: _Optional[_Union[RecallConfig, _Mapping]] = ..., response_format: _Optional[_Union[_inference_service_pb2.ResponseFormat, _Mapping]] = ...) -> None: ...

class RegenerateResponse(_message.Message):
    __slots__ = ("started", "delta", "finished")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    started: ReplyStarted
    delta: ReplyDelta
    finished: ReplyFinished
    def __init__(self, started: _Optional[_Union[ReplyStarted, _Mapping]] = ..., delta: _Optional[_Union[ReplyDelta, _Mapping]] = ..., finished: _Optional[_Union[ReplyFinished, _Mapping]] = ...) -> None: ...

class GetContextRequest(_message.Message):
    __slots__ = ("conversation", "text", "recall")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    text: str
    recall: RecallConfig
    def __init__(self, conversation: _Optional[str] = ..., text: _Optional[str] = ..., recall: _Optional[_Union[RecallConfig, _Mapping]] = ...) -> None: ...

class ContextSection(_message.Message):
    __slots__ = ("kind", "role", "content", "token_count")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ContextSection.Kind]
        KIND_SYSTEM: _ClassVar[ContextSection.Kind]
        KIND_RECENT: _ClassVar[ContextSection.Kind]
        KIND_RECALLED: _ClassVar[ContextSection.Kind]
        KIND_MESSAGE: _ClassVar[ContextSection.Kind]
        KIND_SUMMARY: _ClassVar[ContextSection.Kind]
    KIND_UNSPECIFIED: ContextSection.Kind
    KIND_SYSTEM: ContextSection.Kind
    KIND_RECENT: ContextSection.Kind
    KIND_RECALLED: ContextSection.Kind
    KIND_MESSAGE: ContextSection.Kind
    KIND_SUMMARY: ContextSection.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: ContextSection.Kind
    role: _chat_message_pb2.Role
    content: str
    token_count: int
    def __init__(self, kind: _Optional[_Union[ContextSection.Kind, str]] = ..., role: _Optional[_Union[_chat_message_pb2.Role, str]] = ..., content: _Optional[str] = ..., token_count: _Optional[int] = ...) -> None: ...

class GetContextResponse(_message.Message):
    __slots__ = ("sections", "prompt_tokens", "context_tokens", "recalled", "window_start_sequence")
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sections: _containers.RepeatedCompositeFieldContainer[ContextSection]
    prompt_tokens: int
    context_tokens: int
    recalled: _containers.RepeatedCompositeFieldContainer[_memory_service_pb2.SearchHit]
    window_start_sequence: int
    def __init__(self, sections: _Optional[_Iterable[_Union[ContextSection, _Mapping]]] = ..., prompt_tokens: _Optional[int] = ..., context_tokens: _Optional[int] = ..., recalled: _Optional[_Iterable[_Union[_memory_service_pb2.SearchHit, _Mapping]]] = ..., window_start_sequence: _Optional[int] = ...) -> None: ...

class ChatServiceGetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChatServiceGetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _inference_service_pb2.Model
    def __init__(self, model: _Optional[_Union[_inference_service_pb2.Model, _Mapping]] = ...) -> None: ...

class ChatServiceCreateConversationRequest(_message.Message):
    __slots__ = ("conversation", "request_id")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    conversation: _memory_service_pb2.Conversation
    request_id: str
    def __init__(self, conversation: _Optional[_Union[_memory_service_pb2.Conversation, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ChatServiceCreateConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: _memory_service_pb2.Conversation
    def __init__(self, conversation: _Optional[_Union[_memory_service_pb2.Conversation, _Mapping]] = ...) -> None: ...

class ChatServiceGetConversationRequest(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    def __init__(self, conversation: _Optional[str] = ...) -> None: ...

class ChatServiceGetConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: _memory_service_pb2.Conversation
    def __init__(self, conversation: _Optional[_Union[_memory_service_pb2.Conversation, _Mapping]] = ...) -> None: ...

class ChatServiceListConversationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ChatServiceListConversationsResponse(_message.Message):
    __slots__ = ("conversations", "next_page_token")
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversations: _containers.RepeatedCompositeFieldContainer[_memory_service_pb2.Conversation]
    next_page_token: str
    def __init__(self, conversations: _Optional[_Iterable[_Union[_memory_service_pb2.Conversation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ChatServiceUpdateConversationRequest(_message.Message):
    __slots__ = ("conversation", "update_mask", "request_id")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    conversation: _memory_service_pb2.Conversation
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, conversation: _Optional[_Union[_memory_service_pb2.Conversation, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ChatServiceUpdateConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: _memory_service_pb2.Conversation
    def __init__(self, conversation: _Optional[_Union[_memory_service_pb2.Conversation, _Mapping]] = ...) -> None: ...

class ChatServiceDeleteConversationRequest(_message.Message):
    __slots__ = ("conversation", "request_id")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    request_id: str
    def __init__(self, conversation: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ChatServiceDeleteConversationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChatServiceAppendMessagesRequest(_message.Message):
    __slots__ = ("conversation", "messages", "request_id")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    request_id: str
    def __init__(self, conversation: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ChatServiceAppendMessagesResponse(_message.Message):
    __slots__ = ("messages", "replayed")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    replayed: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class ChatServiceListMessagesRequest(_message.Message):
    __slots__ = ("conversation", "page_size", "page_token", "order", "filter")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    page_size: int
    page_token: str
    order: _memory_service_pb2.ListOrder
    filter: _memory_service_pb2.MessageFilter
    def __init__(self, conversation: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[_memory_service_pb2.ListOrder, str]] = ..., filter: _Optional[_Union[_memory_service_pb2.MessageFilter, _Mapping]] = ...) -> None: ...

class ChatServiceListMessagesResponse(_message.Message):
    __slots__ = ("messages", "next_page_token")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    next_page_token: str
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ChatServiceSearchMessagesRequest(_message.Message):
    __slots__ = ("query", "limit", "conversation", "filter", "neighbours", "recency_half_life")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    RECENCY_HALF_LIFE_FIELD_NUMBER: _ClassVar[int]
    query: str
    limit: int
    conversation: str
    filter: _memory_service_pb2.MessageFilter
    neighbours: int
    recency_half_life: _duration_pb2.Duration
    def __init__(self, query: _Optional[str] = ..., limit: _Optional[int] = ..., conversation: _Optional[str] = ..., filter: _Optional[_Union[_memory_service_pb2.MessageFilter, _Mapping]] = ..., neighbours: _Optional[int] = ..., recency_half_life: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ChatServiceSearchMessagesResponse(_message.Message):
    __slots__ = ("hits",)
    HITS_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[_memory_service_pb2.SearchHit]
    def __init__(self, hits: _Optional[_Iterable[_Union[_memory_service_pb2.SearchHit, _Mapping]]] = ...) -> None: ...

class ChatServiceExportMessagesRequest(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    def __init__(self, conversation: _Optional[str] = ...) -> None: ...

class ChatServiceExportMessagesResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: _memory_service_pb2.ExportRecord
    def __init__(self, record: _Optional[_Union[_memory_service_pb2.ExportRecord, _Mapping]] = ...) -> None: ...

class ChatServiceDeleteUserDataRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class ChatServiceDeleteUserDataResponse(_message.Message):
    __slots__ = ("conversation_count", "message_count")
    CONVERSATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    conversation_count: int
    message_count: int
    def __init__(self, conversation_count: _Optional[int] = ..., message_count: _Optional[int] = ...) -> None: ...
