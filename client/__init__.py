"""The typed asyncio client of the chat backend.

    async with ChatClient("127.0.0.1:50051") as client:
        async for text in client.chat("What is the capital of France?"):
            print(text, end="", flush=True)

Imports nothing of the services: it speaks the public protocol `chatbot.v1` and could live anywhere. No protobuf
message leaves it; what it returns are the frozen values of `client.values`, what it raises are the errors of
`client.errors`.
"""

from __future__ import annotations

from client.channel import Tls
from client.chat_client import ChatClient
from client.errors import (
    ChatbotError,
    ContextTooLong,
    ConversationBusy,
    ConversationNotFound,
    DeadlineExceeded,
    EngineLost,
    FailedPrecondition,
    FieldViolation,
    InternalError,
    InvalidArgument,
    InvalidPageToken,
    MessageNotFound,
    ModelLoading,
    NotConnected,
    NotFound,
    NothingToRegenerate,
    NotImplementedByServer,
    Overloaded,
    PermissionDenied,
    RequestIdReused,
    Unauthenticated,
    Unavailable,
)
from client.reply import Reply
from client.values import (
    Context,
    ContextSection,
    Conversation,
    DeletedData,
    FinishReason,
    GenerationTimings,
    Message,
    MessageFilter,
    Model,
    NewMessage,
    RecallConfig,
    ReplyFinished,
    ReplyStarted,
    Role,
    SamplingConfig,
    SearchHit,
    SectionKind,
    Usage,
)

__all__ = [
    "ChatClient",
    "ChatbotError",
    "Context",
    "ContextSection",
    "ContextTooLong",
    "Conversation",
    "ConversationBusy",
    "ConversationNotFound",
    "DeadlineExceeded",
    "DeletedData",
    "EngineLost",
    "FailedPrecondition",
    "FieldViolation",
    "FinishReason",
    "GenerationTimings",
    "InternalError",
    "InvalidArgument",
    "InvalidPageToken",
    "Message",
    "MessageFilter",
    "MessageNotFound",
    "Model",
    "ModelLoading",
    "NewMessage",
    "NotConnected",
    "NotFound",
    "NotImplementedByServer",
    "NothingToRegenerate",
    "Overloaded",
    "PermissionDenied",
    "RecallConfig",
    "Reply",
    "ReplyFinished",
    "ReplyStarted",
    "RequestIdReused",
    "Role",
    "SamplingConfig",
    "SearchHit",
    "SectionKind",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Usage",
]
