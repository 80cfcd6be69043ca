"""`chatbot.v1.MemoryService`: translates between the wire and the rooms behind it, and decides nothing."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from typing_extensions import override

from chatbot.v1 import memory_service_pb2 as pb
from chatbot.v1 import memory_service_pb2_grpc
from services.memory import field_checks as check
from services.memory import validation, wire
from services.memory.conversation import ConversationCursor
from services.memory.export_records import export_records
from services.memory.import_reader import read_import
from services.memory.message import MessageQuery
from services.memory.resource_name import parse_conversation
from services.rpc.deadlines import time_left
from services.rpc.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.memory.embedder.async_embedder import AsyncEmbedder
    from services.memory.embedding_queue import EmbeddingQueue
    from services.memory.index_cache import IndexCache
    from services.memory.page_token import PageTokens
    from services.memory.search import Searcher
    from services.memory.store import Store
    from services.rpc.interceptor import Context


@dataclass(frozen=True, slots=True)
class Rooms:
    """What is behind the door once the service has started."""

    store: Store
    embedder: AsyncEmbedder
    queue: EmbeddingQueue
    indexes: IndexCache
    searcher: Searcher
    page_tokens: PageTokens
    import_max_bytes: int


class MemoryServicer(memory_service_pb2_grpc.MemoryServiceServicer):
    """Answers UNAVAILABLE until `rooms` is set."""

    def __init__(self) -> None:
        self.rooms: Rooms | None = None

    @override
    async def CreateConversation(
        self, request: pb.CreateConversationRequest, context: Context
    ) -> pb.CreateConversationResponse:
        rooms = self._opened()
        write = validation.write_request(request)
        draft = validation.new_conversation(request.conversation)
        created = await rooms.store.create_conversation(draft, write)
        return pb.CreateConversationResponse(conversation=wire.conversation(created))

    @override
    async def GetConversation(self, request: pb.GetConversationRequest, context: Context) -> pb.GetConversationResponse:
        rooms = self._opened()
        user_id = check.user("user_id", request.user_id)
        conversation_id = parse_conversation("conversation", request.conversation)
        stored = await rooms.store.get_conversation(user_id, conversation_id)
        return pb.GetConversationResponse(conversation=wire.conversation(stored))

    @override
    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: Context
    ) -> pb.ListConversationsResponse:
        rooms = self._opened()
        user_id = check.user("user_id", request.user_id)
        limit = check.count("page_size", request.page_size, default=50)
        listing = ("conversations", user_id)
        after = None
        if request.page_token:
            place = rooms.page_tokens.read(request.page_token, listing)
            after = ConversationCursor(int.from_bytes(place[:8], "big", signed=True), place[8:].decode("ascii"))
        page = await rooms.store.list_conversations(user_id, limit, after)
        token = ""
        if page.more:
            last = page.conversations[-1]
            place = last.update_ns.to_bytes(8, "big", signed=True) + last.id.encode("ascii")
            token = rooms.page_tokens.make(place, listing)
        return pb.ListConversationsResponse(
            conversations=[wire.conversation(stored) for stored in page.conversations], next_page_token=token
        )

    @override
    async def UpdateConversation(
        self, request: pb.UpdateConversationRequest, context: Context
    ) -> pb.UpdateConversationResponse:
        rooms = self._opened()
        write = validation.write_request(request)
        conversation_id = parse_conversation("conversation.name", request.conversation.name)
        change = validation.conversation_change(request)
        changed = await rooms.store.update_conversation(conversation_id, change, write)
        return pb.UpdateConversationResponse(conversation=wire.conversation(changed))

    @override
    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, context: Context
    ) -> pb.DeleteConversationResponse:
        rooms = self._opened()
        write = validation.write_request(request)
        conversation_id = parse_conversation("conversation", request.conversation)
        await rooms.store.delete_conversation(conversation_id, write)
        await rooms.indexes.follow_deletion(write.user_id)
        return pb.DeleteConversationResponse()

    @override
    async def AppendMessages(self, request: pb.AppendMessagesRequest, context: Context) -> pb.AppendMessagesResponse:
        rooms = self._opened()
        write = validation.write_request(request)
        appended = await rooms.store.append_messages(validation.append(request), write)
        rooms.indexes.note_writing(write.user_id)
        rooms.queue.wake()
        return pb.AppendMessagesResponse(
            messages=[wire.message(stored) for stored in appended.messages], replayed=appended.replayed
        )

    @override
    async def DeleteMessages(self, request: pb.DeleteMessagesRequest, context: Context) -> pb.DeleteMessagesResponse:
        rooms = self._opened()
        write = validation.write_request(request)
        count = await rooms.store.delete_messages(validation.deleted_range(request), write)
        await rooms.indexes.follow_deletion(write.user_id)
        return pb.DeleteMessagesResponse(message_count=count)

    @override
    async def BatchGetMessages(
        self, request: pb.BatchGetMessagesRequest, context: Context
    ) -> pb.BatchGetMessagesResponse:
        rooms = self._opened()
        user_id = check.user("user_id", request.user_id)
        found = await rooms.store.messages_by_name(user_id, validation.message_names(request))
        return pb.BatchGetMessagesResponse(messages=[wire.message(stored) for stored in found])

    @override
    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        rooms = self._opened()
        user_id = check.user("user_id", request.user_id)
        limit = check.count("page_size", request.page_size, default=50)
        query = MessageQuery(
            parse_conversation("conversation", request.conversation),
            limit,
            validation.newest_first(request.order),
            validation.message_filter(request.filter),
            check.not_negative("start_sequence", request.start_sequence),
            request.include_superseded,
        )
        listing = (
            "messages",
            user_id,
            query.conversation_id,
            query.newest_first,
            sorted(int(role) for role in query.filter.roles),
            sorted(query.filter.authors),
            query.filter.start_ns,
            query.filter.end_ns,
            query.start_sequence,
            query.include_superseded,
        )
        if request.page_token:
            place = rooms.page_tokens.read(request.page_token, listing)
            query = replace(query, after=int.from_bytes(place, "big"))
        page = await rooms.store.list_messages(user_id, query)
        token = rooms.page_tokens.make(page.messages[-1].sequence.to_bytes(8, "big"), listing) if page.more else ""
        return pb.ListMessagesResponse(
            messages=[wire.message(stored) for stored in page.messages], next_page_token=token
        )

    @override
    async def SearchMessages(self, request: pb.SearchMessagesRequest, context: Context) -> pb.SearchMessagesResponse:
        rooms = self._opened()
        user_id = check.user("user_id", request.user_id)
        hits = await rooms.searcher.search(user_id, validation.search_query(request), time_left(context))
        return wire.search_response(hits, rooms.embedder.facts.close_similarity)

    @override
    async def ExportMessages(
        self, request: pb.ExportMessagesRequest, context: Context
    ) -> AsyncIterator[pb.ExportMessagesResponse]:
        rooms = self._opened()
        user_id = check.user("user_id", request.user_id)
        conversation_id = parse_conversation("conversation", request.conversation) if request.conversation else None
        async with aclosing(export_records(rooms.store, user_id, conversation_id)) as records:
            async for record in records:
                yield pb.ExportMessagesResponse(record=record)

    @override
    async def ImportMessages(
        self, request_iterator: AsyncIterator[pb.ImportMessagesRequest], context: Context
    ) -> pb.ImportMessagesResponse:
        rooms = self._opened()
        imported, write = await read_import(request_iterator, rooms.import_max_bytes)
        counts = await rooms.store.import_conversations(imported, write)
        rooms.indexes.note_writing(write.user_id)
        rooms.queue.wake()
        return pb.ImportMessagesResponse(conversation_count=counts.conversations, message_count=counts.messages)

    @override
    async def DeleteUserData(self, request: pb.DeleteUserDataRequest, context: Context) -> pb.DeleteUserDataResponse:
        rooms = self._opened()
        write = validation.write_request(request)
        counts = await rooms.store.delete_user(write)
        await rooms.indexes.follow_deletion(write.user_id)
        return pb.DeleteUserDataResponse(conversation_count=counts.conversations, message_count=counts.messages)

    @override
    async def HoldTurn(self, request: pb.HoldTurnRequest, context: Context) -> pb.HoldTurnResponse:
        rooms = self._opened()
        await rooms.store.hold_turn(
            check.user("user_id", request.user_id),
            parse_conversation("conversation", request.conversation),
            check.request_id("turn_id", request.turn_id),
            check.lease_ns("lease", request.lease),
        )
        return pb.HoldTurnResponse()

    @override
    async def EndTurn(self, request: pb.EndTurnRequest, context: Context) -> pb.EndTurnResponse:
        rooms = self._opened()
        await rooms.store.end_turn(
            check.user("user_id", request.user_id),
            parse_conversation("conversation", request.conversation),
            check.request_id("turn_id", request.turn_id),
        )
        return pb.EndTurnResponse()

    @override
    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        rooms = self._opened()
        found = await rooms.store.statistics(0)
        return wire.status(found, rooms.embedder.facts, rooms.queue.progress, rooms.indexes)

    @override
    async def EmbedTexts(self, request: pb.EmbedTextsRequest, context: Context) -> pb.EmbedTextsResponse:
        rooms = self._opened()
        embedded = await rooms.embedder.embed_counted(validation.texts_to_embed(request))
        return pb.EmbedTextsResponse(
            model=rooms.embedder.facts.model,
            embeddings=[pb.Embedding(values=row.tolist()) for row in embedded.rows],
            token_count=embedded.tokens,
        )

    def _opened(self) -> Rooms:
        if self.rooms is None:
            raise Unavailable("The memory service is starting.", retry_after=0.5)
        return self.rooms
