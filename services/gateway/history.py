"""What a turn reads of the history and writes to it: the gateway's side of the memory service.

Each write of a turn has a `request_id` that follows from the turn's own, so that repeating the turn repeats the
write and changes nothing.
"""

from __future__ import annotations

import asyncio
import unicodedata
import uuid
from typing import TYPE_CHECKING

import structlog
from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import ROLE_USER, ChatMessage
from services.gateway.busy import busy_error
from services.rpc import errors

if TYPE_CHECKING:
    from chatbot.v1 import chat_service_pb2 as chat_pb
    from services.gateway.identity import Caller
    from services.gateway.peers import MemoryPeer

_log = structlog.get_logger()

_PAGE_SIZE = 100
_LONGEST_TITLE = 60
"""Characters."""

_PATIENCE_SECONDS = 15.0
"""How long a reply is tried to be stored while the memory service does not answer."""

_RETRY_SECONDS = 0.5


class History:
    """The stored conversations, as a turn uses them."""

    def __init__(self, memory: MemoryPeer) -> None:
        self._memory = memory
        self._appends: set[asyncio.Task[ChatMessage]] = set()

    async def conversation(self, caller: Caller, name: str) -> memory_pb.Conversation:
        """Returns one of the caller's conversations."""
        request = memory_pb.GetConversationRequest(user_id=caller.user_id, conversation=name)
        response = await self._memory.call(self._memory.stub.GetConversation, request, caller.time_left())
        return response.conversation

    async def create(self, caller: Caller, text: str, request_id: str) -> memory_pb.Conversation:
        """Starts the conversation that a turn opens with a text."""
        create = memory_pb.CreateConversationRequest(
            user_id=caller.user_id,
            conversation=memory_pb.Conversation(title=title_of(text)),
            request_id=_derived(request_id, "conversation"),
        )
        response = await self._memory.call(self._memory.stub.CreateConversation, create, caller.time_left())
        return response.conversation

    async def append_message(
        self,
        caller: Caller,
        conversation: memory_pb.Conversation,
        text: str,
        request_id: str,
        supersede_from: int | None = None,
    ) -> tuple[ChatMessage, bool]:
        """Stores the user's message; returns it, and whether it had been stored before.

        Args:
            caller: Whose.
            conversation: As it was read.
            text: What is said.
            request_id: Of the turn.
            supersede_from: Sequence from which earlier messages are superseded; None: nothing is.

        Raises:
            ConversationBusy: The conversation has gone on since it was read.
        """
        append = memory_pb.AppendMessagesRequest(
            user_id=caller.user_id,
            conversation=conversation.name,
            messages=[ChatMessage(role=ROLE_USER, content=text)],
            request_id=request_id,
            # Another gateway may have begun a turn since the conversation was read.
            expected_last_sequence=conversation.last_sequence,
            supersede_from_sequence=supersede_from,
        )
        try:
            response = await self._memory.call(self._memory.stub.AppendMessages, append, caller.time_left())
        except errors.SequenceMismatch:
            raise busy_error() from None
        return response.messages[0], response.replayed

    async def append_all(
        self, caller: Caller, request: chat_pb.ChatServiceAppendMessagesRequest
    ) -> memory_pb.AppendMessagesResponse:
        """Stores messages that were said elsewhere."""
        append = memory_pb.AppendMessagesRequest(
            user_id=caller.user_id,
            conversation=request.conversation,
            messages=request.messages,
            request_id=request.request_id,
        )
        return await self._memory.call(self._memory.stub.AppendMessages, append, caller.time_left())

    async def stored_reply(self, caller: Caller, message: ChatMessage, request_id: str) -> ChatMessage | None:
        """Returns the reply that a request has stored to a message, also where it was superseded since."""
        wanted = _derived(request_id, "reply")
        request = memory_pb.ListMessagesRequest(
            user_id=caller.user_id,
            conversation=conversation_of(message),
            page_size=_PAGE_SIZE,
            start_sequence=message.sequence + 1,
            include_superseded=True,
        )
        while True:
            page = await self._memory.call(self._memory.stub.ListMessages, request, caller.time_left())
            for candidate in page.messages:
                if candidate.request_id == wanted:
                    return candidate
            if not page.next_page_token:
                return None
            request.page_token = page.next_page_token

    async def last_user_message(self, caller: Caller, conversation: str) -> ChatMessage:
        """Returns the message that a reply would be to.

        Raises:
            NothingToRegenerate: There is none.
        """
        request = memory_pb.ListMessagesRequest(
            user_id=caller.user_id,
            conversation=conversation,
            page_size=1,
            order=memory_pb.LIST_ORDER_NEWEST_FIRST,
            filter=memory_pb.MessageFilter(roles=[ROLE_USER]),
        )
        page = await self._memory.call(self._memory.stub.ListMessages, request, caller.time_left())
        if not page.messages:
            raise errors.NothingToRegenerate("The conversation has no message of the user to reply to.")
        return page.messages[0]

    async def set_window_start(self, caller: Caller, conversation: str, sequence: int) -> None:
        """Stores where the conversation's window begins."""
        request = memory_pb.UpdateConversationRequest(
            user_id=caller.user_id,
            conversation=memory_pb.Conversation(name=conversation, window_start_sequence=sequence),
            update_mask=FieldMask(paths=["window_start_sequence"]),
            request_id=str(uuid.uuid4()),
        )
        await self._memory.call(self._memory.stub.UpdateConversation, request, caller.time_left())

    async def append_reply(
        self, user_id: str, request_id: str, conversation: str, reply: ChatMessage, supersede_from: int | None
    ) -> ChatMessage:
        """Stores the reply of a turn. Goes on in a task of its own where the caller is cancelled meanwhile.

        Args:
            user_id: Whose.
            request_id: Of the turn.
            conversation: Resource name.
            reply: What is stored.
            supersede_from: Sequence from which earlier replies are superseded; None: nothing is.
        """
        request = memory_pb.AppendMessagesRequest(
            user_id=user_id,
            conversation=conversation,
            messages=[reply],
            request_id=_derived(request_id, "reply"),
            supersede_from_sequence=supersede_from,
        )
        task = asyncio.create_task(self._append_patiently(request))
        self._appends.add(task)
        task.add_done_callback(self._appends.discard)
        return await asyncio.shield(task)

    async def finish_appends(self) -> None:
        """Waits until every reply that has ended is stored."""
        while self._appends:
            await asyncio.wait(self._appends)

    async def _append_patiently(self, request: memory_pb.AppendMessagesRequest) -> ChatMessage:
        """Stores a reply. Outlasts a restart of the memory service: repeating the request is safe."""
        give_up_at = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            try:
                response = await self._memory.call(self._memory.stub.AppendMessages, request)
                return response.messages[0]
            except (errors.Unavailable, errors.DeadlineExceeded) as failure:
                if asyncio.get_running_loop().time() >= give_up_at:
                    _log.error("a reply could not be stored", reason=failure.reason)
                    raise
            except errors.ChatbotError as failure:
                _log.error("a reply could not be stored", reason=failure.reason)
                raise
            await asyncio.sleep(_RETRY_SECONDS)


def conversation_of(message: ChatMessage) -> str:
    """Returns the resource name of a stored message's conversation."""
    return message.name.split("/messages/")[0]


def _derived(request_id: str, what: str) -> str:
    """Returns the request id of a write that belongs to a turn: the same one whenever the turn is repeated."""
    return str(uuid.uuid5(uuid.UUID(request_id), what))


def title_of(text: str) -> str:
    """Returns what a conversation that opens with a text is listed as: its beginning, on one line."""
    # Control characters would act on whatever terminal lists it.
    words = " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())
    return words if len(words) <= _LONGEST_TITLE else f"{words[: _LONGEST_TITLE - 1].rstrip()}…"
