"""The calls of `ChatService` for a known caller, whichever door they came through: gRPC, or JSON over HTTP.

Each takes the request as the proto has it, and the caller; it decides nothing but whether the request is well formed,
and whether the user may have one more.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from services.rpc.errors import invalid_field
from services.rpc.request_rules import check_request_id, check_sampling, check_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.gateway.chat_turn import ChatTurns
    from services.gateway.identity import Caller
    from services.gateway.peers import Peers
    from services.gateway.turn_event import TurnEvent
    from services.gateway.user_limits import UserLimits


class ChatCalls:
    """`ChatService`, called by whoever has found out who calls."""

    def __init__(self, peers: Peers, turns: ChatTurns, limits: UserLimits) -> None:
        self._memory = peers.memory
        self._inference = peers.inference
        self._turns = turns
        self._limits = limits

    async def chat(self, request: chat_pb.ChatRequest, caller: Caller) -> AsyncGenerator[chat_pb.ChatResponse, None]:
        """See the proto."""
        check_text(request.text, "text")
        check_sampling(request.sampling)
        request.request_id = _request_id(request.request_id)
        async with aclosing(self._within_limits(self._turns.chat(caller, request), caller)) as events:
            async for event in events:
                match event:
                    case chat_pb.ReplyStarted():
                        yield chat_pb.ChatResponse(started=event)
                    case chat_pb.ReplyDelta():
                        yield chat_pb.ChatResponse(delta=event)
                    case chat_pb.ReplyFinished():
                        yield chat_pb.ChatResponse(finished=event)

    async def regenerate(
        self, request: chat_pb.RegenerateRequest, caller: Caller
    ) -> AsyncGenerator[chat_pb.RegenerateResponse, None]:
        """See the proto."""
        check_sampling(request.sampling)
        request.request_id = _request_id(request.request_id)
        async with aclosing(self._within_limits(self._turns.regenerate(caller, request), caller)) as events:
            async for event in events:
                match event:
                    case chat_pb.ReplyStarted():
                        yield chat_pb.RegenerateResponse(started=event)
                    case chat_pb.ReplyDelta():
                        yield chat_pb.RegenerateResponse(delta=event)
                    case chat_pb.ReplyFinished():
                        yield chat_pb.RegenerateResponse(finished=event)

    async def get_context(self, request: chat_pb.GetContextRequest, caller: Caller) -> chat_pb.GetContextResponse:
        """See the proto."""
        self._limits.count_request(caller)
        check_text(request.text, "text")
        built = await self._turns.context(caller, request)
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

    async def get_model(
        self, request: chat_pb.ChatServiceGetModelRequest, caller: Caller
    ) -> chat_pb.ChatServiceGetModelResponse:
        """See the proto."""
        self._limits.count_request(caller)
        del request
        return chat_pb.ChatServiceGetModelResponse(model=await self._inference.model(caller.time_left()))

    async def create_conversation(
        self, request: chat_pb.ChatServiceCreateConversationRequest, caller: Caller
    ) -> chat_pb.ChatServiceCreateConversationResponse:
        """See the proto."""
        self._limits.count_request(caller)
        created = await self._memory.call(
            self._memory.stub.CreateConversation,
            memory_pb.CreateConversationRequest(
                user_id=caller.user_id,
                conversation=request.conversation,
                request_id=_request_id(request.request_id),
            ),
            caller.time_left(),
        )
        return chat_pb.ChatServiceCreateConversationResponse(conversation=created.conversation)

    async def get_conversation(
        self, request: chat_pb.ChatServiceGetConversationRequest, caller: Caller
    ) -> chat_pb.ChatServiceGetConversationResponse:
        """See the proto."""
        self._limits.count_request(caller)
        found = await self._memory.call(
            self._memory.stub.GetConversation,
            memory_pb.GetConversationRequest(user_id=caller.user_id, conversation=request.conversation),
            caller.time_left(),
        )
        return chat_pb.ChatServiceGetConversationResponse(conversation=found.conversation)

    async def list_conversations(
        self, request: chat_pb.ChatServiceListConversationsRequest, caller: Caller
    ) -> chat_pb.ChatServiceListConversationsResponse:
        """See the proto."""
        self._limits.count_request(caller)
        page = await self._memory.call(
            self._memory.stub.ListConversations,
            memory_pb.ListConversationsRequest(
                user_id=caller.user_id, page_size=request.page_size, page_token=request.page_token
            ),
            caller.time_left(),
        )
        return chat_pb.ChatServiceListConversationsResponse(
            conversations=page.conversations, next_page_token=page.next_page_token
        )

    async def update_conversation(
        self, request: chat_pb.ChatServiceUpdateConversationRequest, caller: Caller
    ) -> chat_pb.ChatServiceUpdateConversationResponse:
        """See the proto."""
        self._limits.count_request(caller)
        if not set(request.update_mask.paths) <= {"title", "system_prompt", "expire_time", "ttl"}:
            raise invalid_field("update_mask", "must name title, system_prompt, expire_time or ttl, nothing else")
        updated = await self._memory.call(
            self._memory.stub.UpdateConversation,
            memory_pb.UpdateConversationRequest(
                user_id=caller.user_id,
                conversation=request.conversation,
                update_mask=request.update_mask,
                request_id=_request_id(request.request_id),
            ),
            caller.time_left(),
        )
        return chat_pb.ChatServiceUpdateConversationResponse(conversation=updated.conversation)

    async def delete_conversation(
        self, request: chat_pb.ChatServiceDeleteConversationRequest, caller: Caller
    ) -> chat_pb.ChatServiceDeleteConversationResponse:
        """See the proto."""
        self._limits.count_request(caller)
        await self._memory.call(
            self._memory.stub.DeleteConversation,
            memory_pb.DeleteConversationRequest(
                user_id=caller.user_id,
                conversation=request.conversation,
                request_id=_request_id(request.request_id),
            ),
            caller.time_left(),
        )
        return chat_pb.ChatServiceDeleteConversationResponse()

    async def append_messages(
        self, request: chat_pb.ChatServiceAppendMessagesRequest, caller: Caller
    ) -> chat_pb.ChatServiceAppendMessagesResponse:
        """See the proto."""
        self._limits.count_request(caller)
        request.request_id = _request_id(request.request_id)
        appended = await self._turns.append(caller, request)
        return chat_pb.ChatServiceAppendMessagesResponse(messages=appended.messages, replayed=appended.replayed)

    async def list_messages(
        self, request: chat_pb.ChatServiceListMessagesRequest, caller: Caller
    ) -> chat_pb.ChatServiceListMessagesResponse:
        """See the proto."""
        self._limits.count_request(caller)
        page = await self._memory.call(
            self._memory.stub.ListMessages,
            memory_pb.ListMessagesRequest(
                user_id=caller.user_id,
                conversation=request.conversation,
                page_size=request.page_size,
                page_token=request.page_token,
                order=request.order,
                filter=request.filter,
            ),
            caller.time_left(),
        )
        return chat_pb.ChatServiceListMessagesResponse(messages=page.messages, next_page_token=page.next_page_token)

    async def search_messages(
        self, request: chat_pb.ChatServiceSearchMessagesRequest, caller: Caller
    ) -> chat_pb.ChatServiceSearchMessagesResponse:
        """See the proto."""
        self._limits.count_request(caller)
        found = await self._memory.call(
            self._memory.stub.SearchMessages,
            memory_pb.SearchMessagesRequest(
                user_id=caller.user_id,
                query=request.query,
                limit=request.limit,
                conversation=request.conversation,
                filter=request.filter,
                neighbours=request.neighbours,
                recency_half_life=request.recency_half_life if request.HasField("recency_half_life") else None,
            ),
            caller.time_left(),
        )
        return chat_pb.ChatServiceSearchMessagesResponse(hits=found.hits)

    async def export_messages(
        self, request: chat_pb.ChatServiceExportMessagesRequest, caller: Caller
    ) -> AsyncGenerator[chat_pb.ChatServiceExportMessagesResponse, None]:
        """See the proto."""
        export = memory_pb.ExportMessagesRequest(user_id=caller.user_id, conversation=request.conversation)
        with self._limits.stream(caller):
            stream = self._memory.stream(self._memory.stub.ExportMessages, export, caller.time_left())
            async with aclosing(stream) as responses:
                async for response in responses:
                    yield chat_pb.ChatServiceExportMessagesResponse(record=response.record)

    async def delete_user_data(
        self, request: chat_pb.ChatServiceDeleteUserDataRequest, caller: Caller
    ) -> chat_pb.ChatServiceDeleteUserDataResponse:
        """See the proto."""
        self._limits.count_request(caller)
        deleted = await self._memory.call(
            self._memory.stub.DeleteUserData,
            memory_pb.DeleteUserDataRequest(user_id=caller.user_id, request_id=_request_id(request.request_id)),
            caller.time_left(),
        )
        return chat_pb.ChatServiceDeleteUserDataResponse(
            conversation_count=deleted.conversation_count, message_count=deleted.message_count
        )

    async def _within_limits(
        self, turn: AsyncGenerator[TurnEvent, None], caller: Caller
    ) -> AsyncGenerator[TurnEvent, None]:
        """Passes a turn's events on, and counts what the model computes for it. A replay costs nothing."""
        with ExitStack() as place:
            count = place.enter_context(self._limits.reply(caller))
            replayed = False
            async with aclosing(turn) as events:
                async for event in events:
                    match event:
                        case chat_pb.ReplyStarted():
                            replayed = event.replayed
                            count(event.prompt_tokens - event.cached_tokens)
                        case chat_pb.ReplyDelta() if not replayed:
                            count(event.token_count)
                        case chat_pb.ReplyFinished():
                            # Who reads this may have another reply at once.
                            place.close()
                    yield event


def _request_id(given: str) -> str:
    return check_request_id(given) if given else str(uuid.uuid4())
