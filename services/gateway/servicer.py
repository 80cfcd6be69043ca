"""`ChatService` over gRPC: finds out who calls, and passes the call on."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from chatbot.v1.chat_service_pb2_grpc import ChatServiceServicer
from services.gateway.identity import Credentials
from services.rpc.deadlines import time_left

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from chatbot.v1 import chat_service_pb2 as chat_pb
    from services.gateway.chat_calls import ChatCalls
    from services.gateway.identity import Caller, Identity
    from services.rpc.interceptor import Context


class ChatServicer(ChatServiceServicer):
    """The door for gRPC clients."""

    def __init__(self, calls: ChatCalls, identity: Identity) -> None:
        self._calls = calls
        self._identity = identity

    async def Chat(self, request: chat_pb.ChatRequest, context: Context) -> AsyncGenerator[chat_pb.ChatResponse, None]:
        """See the proto."""
        async with aclosing(self._calls.chat(request, await self._caller(context))) as responses:
            async for response in responses:
                yield response

    async def Regenerate(
        self, request: chat_pb.RegenerateRequest, context: Context
    ) -> AsyncGenerator[chat_pb.RegenerateResponse, None]:
        """See the proto."""
        async with aclosing(self._calls.regenerate(request, await self._caller(context))) as responses:
            async for response in responses:
                yield response

    async def GetContext(self, request: chat_pb.GetContextRequest, context: Context) -> chat_pb.GetContextResponse:
        """See the proto."""
        return await self._calls.get_context(request, await self._caller(context))

    async def GetModel(
        self, request: chat_pb.ChatServiceGetModelRequest, context: Context
    ) -> chat_pb.ChatServiceGetModelResponse:
        """See the proto."""
        return await self._calls.get_model(request, await self._caller(context))

    async def CreateConversation(
        self, request: chat_pb.ChatServiceCreateConversationRequest, context: Context
    ) -> chat_pb.ChatServiceCreateConversationResponse:
        """See the proto."""
        return await self._calls.create_conversation(request, await self._caller(context))

    async def GetConversation(
        self, request: chat_pb.ChatServiceGetConversationRequest, context: Context
    ) -> chat_pb.ChatServiceGetConversationResponse:
        """See the proto."""
        return await self._calls.get_conversation(request, await self._caller(context))

    async def ListConversations(
        self, request: chat_pb.ChatServiceListConversationsRequest, context: Context
    ) -> chat_pb.ChatServiceListConversationsResponse:
        """See the proto."""
        return await self._calls.list_conversations(request, await self._caller(context))

    async def UpdateConversation(
        self, request: chat_pb.ChatServiceUpdateConversationRequest, context: Context
    ) -> chat_pb.ChatServiceUpdateConversationResponse:
        """See the proto."""
        return await self._calls.update_conversation(request, await self._caller(context))

    async def DeleteConversation(
        self, request: chat_pb.ChatServiceDeleteConversationRequest, context: Context
    ) -> chat_pb.ChatServiceDeleteConversationResponse:
        """See the proto."""
        return await self._calls.delete_conversation(request, await self._caller(context))

    async def AppendMessages(
        self, request: chat_pb.ChatServiceAppendMessagesRequest, context: Context
    ) -> chat_pb.ChatServiceAppendMessagesResponse:
        """See the proto."""
        return await self._calls.append_messages(request, await self._caller(context))

    async def ListMessages(
        self, request: chat_pb.ChatServiceListMessagesRequest, context: Context
    ) -> chat_pb.ChatServiceListMessagesResponse:
        """See the proto."""
        return await self._calls.list_messages(request, await self._caller(context))

    async def SearchMessages(
        self, request: chat_pb.ChatServiceSearchMessagesRequest, context: Context
    ) -> chat_pb.ChatServiceSearchMessagesResponse:
        """See the proto."""
        return await self._calls.search_messages(request, await self._caller(context))

    async def ExportMessages(
        self, request: chat_pb.ChatServiceExportMessagesRequest, context: Context
    ) -> AsyncGenerator[chat_pb.ChatServiceExportMessagesResponse, None]:
        """See the proto."""
        async with aclosing(self._calls.export_messages(request, await self._caller(context))) as responses:
            async for response in responses:
                yield response

    async def DeleteUserData(
        self, request: chat_pb.ChatServiceDeleteUserDataRequest, context: Context
    ) -> chat_pb.ChatServiceDeleteUserDataResponse:
        """See the proto."""
        return await self._calls.delete_user_data(request, await self._caller(context))

    async def _caller(self, context: Context) -> Caller:
        credentials = Credentials.of_metadata(context.invocation_metadata() or ())
        return await self._identity.identify(credentials, lambda: time_left(context))
