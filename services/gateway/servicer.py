"""`ChatService`: between its messages and the turn, or the memory service."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_service_pb2_grpc import ChatServiceServicer
from services.gateway.identity import caller_of, user_of
from services.rpc.deadlines import time_left
from services.rpc.errors import invalid_field
from services.rpc.request_rules import check_request_id, check_sampling, check_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.gateway.chat_turn import ChatTurns
    from services.gateway.peers import Peers
    from services.rpc.interceptor import Context


class ChatServicer(ChatServiceServicer):
    """Translates; decides nothing but whether a request is well formed."""

    def __init__(self, peers: Peers, turns: ChatTurns) -> None:
        self._memory = peers.memory
        self._inference = peers.inference
        self._turns = turns

    async def Chat(self, request: chat_pb.ChatRequest, context: Context) -> AsyncGenerator[chat_pb.ChatResponse, None]:
        """See the proto."""
        caller = caller_of(context)
        check_text(request.text, "text")
        check_sampling(request.sampling)
        request.request_id = _request_id(request.request_id)
        async with aclosing(self._turns.chat(caller, request)) as events:
            async for event in events:
                match event:
                    case chat_pb.ReplyStarted():
                        yield chat_pb.ChatResponse(started=event)
                    case chat_pb.ReplyDelta():
                        yield chat_pb.ChatResponse(delta=event)
                    case chat_pb.ReplyFinished():
                        yield chat_pb.ChatResponse(finished=event)

    async def Regenerate(
        self, request: chat_pb.RegenerateRequest, context: Context
    ) -> AsyncGenerator[chat_pb.RegenerateResponse, None]:
        """See the proto."""
        caller = caller_of(context)
        check_sampling(request.sampling)
        request.request_id = _request_id(request.request_id)
        async with aclosing(self._turns.regenerate(caller, request)) as events:
            async for event in events:
                match event:
                    case chat_pb.ReplyStarted():
                        yield chat_pb.RegenerateResponse(started=event)
                    case chat_pb.ReplyDelta():
                        yield chat_pb.RegenerateResponse(delta=event)
                    case chat_pb.ReplyFinished():
                        yield chat_pb.RegenerateResponse(finished=event)

    async def GetContext(self, request: chat_pb.GetContextRequest, context: Context) -> chat_pb.GetContextResponse:
        """See the proto."""
        check_text(request.text, "text")
        built = await self._turns.context(caller_of(context), request)
        sections = [
            chat_pb.ContextSection(kind=s.kind, role=s.role, content=s.content, token_count=s.tokens)
            for s in built.prompt.sections
        ]
        return chat_pb.GetContextResponse(
            sections=sections,
            prompt_tokens=built.prompt_tokens,
            context_tokens=built.context_tokens,
            recalled=[recalled.hit for recalled in built.prompt.recalled],
            window_start_sequence=built.prompt.window_start,
        )

    async def GetModel(
        self, request: chat_pb.ChatServiceGetModelRequest, context: Context
    ) -> chat_pb.ChatServiceGetModelResponse:
        """See the proto."""
        del request
        return chat_pb.ChatServiceGetModelResponse(model=await self._inference.model(time_left(context)))

    async def CreateConversation(
        self, request: chat_pb.ChatServiceCreateConversationRequest, context: Context
    ) -> chat_pb.ChatServiceCreateConversationResponse:
        """See the proto."""
        created = await self._memory.call(
            self._memory.stub.CreateConversation,
            memory_pb.CreateConversationRequest(
                user_id=user_of(context),
                conversation=request.conversation,
                request_id=_request_id(request.request_id),
            ),
            time_left(context),
        )
        return chat_pb.ChatServiceCreateConversationResponse(conversation=created.conversation)

    async def GetConversation(
        self, request: chat_pb.ChatServiceGetConversationRequest, context: Context
    ) -> chat_pb.ChatServiceGetConversationResponse:
        """See the proto."""
        found = await self._memory.call(
            self._memory.stub.GetConversation,
            memory_pb.GetConversationRequest(user_id=user_of(context), conversation=request.conversation),
            time_left(context),
        )
        return chat_pb.ChatServiceGetConversationResponse(conversation=found.conversation)

    async def ListConversations(
        self, request: chat_pb.ChatServiceListConversationsRequest, context: Context
    ) -> chat_pb.ChatServiceListConversationsResponse:
        """See the proto."""
        page = await self._memory.call(
            self._memory.stub.ListConversations,
            memory_pb.ListConversationsRequest(
                user_id=user_of(context), page_size=request.page_size, page_token=request.page_token
            ),
            time_left(context),
        )
        return chat_pb.ChatServiceListConversationsResponse(
            conversations=page.conversations, next_page_token=page.next_page_token
        )

    async def UpdateConversation(
        self, request: chat_pb.ChatServiceUpdateConversationRequest, context: Context
    ) -> chat_pb.ChatServiceUpdateConversationResponse:
        """See the proto."""
        if not set(request.update_mask.paths) <= {"title", "system_prompt", "expire_time", "ttl"}:
            raise invalid_field("update_mask", "must name title, system_prompt, expire_time or ttl, nothing else")
        updated = await self._memory.call(
            self._memory.stub.UpdateConversation,
            memory_pb.UpdateConversationRequest(
                user_id=user_of(context),
                conversation=request.conversation,
                update_mask=request.update_mask,
                request_id=_request_id(request.request_id),
            ),
            time_left(context),
        )
        return chat_pb.ChatServiceUpdateConversationResponse(conversation=updated.conversation)

    async def DeleteConversation(
        self, request: chat_pb.ChatServiceDeleteConversationRequest, context: Context
    ) -> chat_pb.ChatServiceDeleteConversationResponse:
        """See the proto."""
        await self._memory.call(
            self._memory.stub.DeleteConversation,
            memory_pb.DeleteConversationRequest(
                user_id=user_of(context),
                conversation=request.conversation,
                request_id=_request_id(request.request_id),
            ),
            time_left(context),
        )
        return chat_pb.ChatServiceDeleteConversationResponse()

    async def AppendMessages(
        self, request: chat_pb.ChatServiceAppendMessagesRequest, context: Context
    ) -> chat_pb.ChatServiceAppendMessagesResponse:
        """See the proto."""
        request.request_id = _request_id(request.request_id)
        appended = await self._turns.append(caller_of(context), request)
        return chat_pb.ChatServiceAppendMessagesResponse(messages=appended.messages, replayed=appended.replayed)

    async def ListMessages(
        self, request: chat_pb.ChatServiceListMessagesRequest, context: Context
    ) -> chat_pb.ChatServiceListMessagesResponse:
        """See the proto."""
        page = await self._memory.call(
            self._memory.stub.ListMessages,
            memory_pb.ListMessagesRequest(
                user_id=user_of(context),
                conversation=request.conversation,
                page_size=request.page_size,
                page_token=request.page_token,
                order=request.order,
                filter=request.filter,
            ),
            time_left(context),
        )
        return chat_pb.ChatServiceListMessagesResponse(messages=page.messages, next_page_token=page.next_page_token)

    async def SearchMessages(
        self, request: chat_pb.ChatServiceSearchMessagesRequest, context: Context
    ) -> chat_pb.ChatServiceSearchMessagesResponse:
        """See the proto."""
        found = await self._memory.call(
            self._memory.stub.SearchMessages,
            memory_pb.SearchMessagesRequest(
                user_id=user_of(context),
                query=request.query,
                limit=request.limit,
                conversation=request.conversation,
                filter=request.filter,
                neighbours=request.neighbours,
                recency_half_life=request.recency_half_life if request.HasField("recency_half_life") else None,
            ),
            time_left(context),
        )
        return chat_pb.ChatServiceSearchMessagesResponse(hits=found.hits)

    async def ExportMessages(
        self, request: chat_pb.ChatServiceExportMessagesRequest, context: Context
    ) -> AsyncGenerator[chat_pb.ChatServiceExportMessagesResponse, None]:
        """See the proto."""
        export = memory_pb.ExportMessagesRequest(user_id=user_of(context), conversation=request.conversation)
        stream = self._memory.stream(self._memory.stub.ExportMessages, export, time_left(context))
        async with aclosing(stream) as responses:
            async for response in responses:
                yield chat_pb.ChatServiceExportMessagesResponse(record=response.record)

    async def DeleteUserData(
        self, request: chat_pb.ChatServiceDeleteUserDataRequest, context: Context
    ) -> chat_pb.ChatServiceDeleteUserDataResponse:
        """See the proto."""
        deleted = await self._memory.call(
            self._memory.stub.DeleteUserData,
            memory_pb.DeleteUserDataRequest(user_id=user_of(context), request_id=_request_id(request.request_id)),
            time_left(context),
        )
        return chat_pb.ChatServiceDeleteUserDataResponse(
            conversation_count=deleted.conversation_count, message_count=deleted.message_count
        )


def _request_id(given: str) -> str:
    return check_request_id(given) if given else str(uuid.uuid4())
