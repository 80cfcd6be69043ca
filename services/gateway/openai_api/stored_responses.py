"""Responses in the history: a response's id is the place, in a conversation of its user's, of what it responds to.

So nothing is stored about a response but what was said: its input, and the reply to it. Going on from a response is
going on with its conversation, where nothing has been said in it since; else with a copy of it up to there, so that
each of several continuations has a conversation of its own.
"""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import (
    FINISH_REASON_CANCELLED,
    FINISH_REASON_ENGINE_LOST,
    FINISH_REASON_EOS,
    FINISH_REASON_MAX_TOKENS,
    ROLE_ASSISTANT,
    ROLE_USER,
    ChatMessage,
    Usage,
)
from services.gateway.busy import busy_error
from services.gateway.history import title_of
from services.gateway.openai_api.reply import Ended, Piece, ReplyEvent, Started
from services.gateway.openai_api.stored_response import StoredResponse, message_of, response_id_of
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from services.gateway.busy import BusyConversations
    from services.gateway.history import History
    from services.gateway.identity import Caller
    from services.gateway.peers import MemoryPeer

_PAGE_SIZE = 1000
_MOST_AT_ONCE = 1000
"""Messages of one append."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a response is kept."""

    response_id: str
    conversation: str
    """Resource name."""
    message: str
    """Resource name of the input's last message, which it responds to."""
    request_id: str


class StoredResponses:
    """Reads and writes them."""

    def __init__(self, memory: MemoryPeer, history: History, busy: BusyConversations) -> None:
        self._memory = memory
        self._busy = busy
        self._history = history

    async def find(self, caller: Caller, response_id: str) -> StoredResponse:
        """Returns a response.

        Raises:
            ResponseNotFound: It is none of the caller's, or was not stored, or never got its text, or was deleted.
        """
        message = message_of(response_id)
        if message is None:
            raise _not_found()
        conversation = message.partition("/messages/")[0]
        try:
            stored = await self._history.conversation(caller, conversation)
            messages = await self._messages(caller, conversation)
        except (errors.NotFound, errors.InvalidArgument):
            raise _not_found() from None
        for place, candidate in enumerate(messages):
            if candidate.role == ROLE_ASSISTANT and candidate.reply_to == message:
                return StoredResponse(response_id, stored, tuple(messages), place)
        raise _not_found()

    async def previous(self, caller: Caller, response_id: str) -> StoredResponse:
        """Returns a response that is to be gone on from.

        Raises:
            PreviousResponseNotFound: As `find` says.
        """
        try:
            return await self.find(caller, response_id)
        except errors.ResponseNotFound:
            raise errors.PreviousResponseNotFound(
                "There is no such response; only those that were stored can be gone on from.",
                violations=[errors.FieldViolation("previous_response_id", "must be the id of a stored response")],
            ) from None

    async def delete(self, caller: Caller, response_id: str) -> None:
        """Deletes a response, its input included, for good. What was said before it and after it stays.

        Raises:
            ResponseNotFound: As `find` says.
            ConversationChanged: Its conversation got another title at this moment; nothing is deleted.
        """
        found = await self.find(caller, response_id)
        await self._name_anew(caller, found)
        delete = memory_pb.DeleteMessagesRequest(
            user_id=caller.user_id,
            conversation=found.conversation.name,
            start_sequence=found.first_sequence,
            end_sequence=found.reply.sequence,
            request_id=str(uuid.uuid4()),
        )
        try:
            await self._memory.call(self._memory.stub.DeleteMessages, delete, caller.time_left())
        except errors.NotFound:
            raise _not_found() from None

    async def _name_anew(self, caller: Caller, found: StoredResponse) -> None:
        """Has a conversation's title tell nothing of a response that is to be deleted, unless the user has given it."""
        conversation = found.conversation
        first = next((m for m in found.messages if m.role == ROLE_USER), None)
        left = [m for m in found.messages if not found.first_sequence <= m.sequence <= found.reply.sequence]
        if not conversation.title or conversation.title_source == memory_pb.TITLE_SOURCE_USER:
            return
        if first is None or first in left or not left:
            return
        text = next((m.content for m in left if m.role == ROLE_USER), "")
        rename = memory_pb.UpdateConversationRequest(
            user_id=caller.user_id,
            conversation=memory_pb.Conversation(
                name=conversation.name, title=title_of(text), title_source=memory_pb.TITLE_SOURCE_FIRST_MESSAGE
            ),
            update_mask=FieldMask(paths=["title", "title_source"]),
            expected_title_source=conversation.title_source,
            request_id=str(uuid.uuid4()),
        )
        await self._memory.call(self._memory.stub.UpdateConversation, rename, caller.time_left())

    async def kept(
        self,
        caller: Caller,
        past: StoredResponse | None,
        said: Sequence[ChatMessage],
        instructions: str,
        stream: AsyncGenerator[ReplyEvent, None],
    ) -> AsyncGenerator[ReplyEvent, None]:
        """Yields a reply's events, and stores what it replies to before its beginning is told, it before its end is.

        The reply is stored however it ends; until it is, no turn can be taken in the conversation. Nothing is stored
        where the model does not take the request up, so that it can simply be made again.

        Raises:
            ConversationBusy: Something has been said meanwhile where the past ends, or is being said.
        """
        text: list[str] = []
        usage = Usage()
        # What holds where nothing else comes to be known: the caller has gone.
        reason = FINISH_REASON_CANCELLED
        place: _Place | None = None
        end: Ended | None = None
        claims = AsyncExitStack()
        try:
            async with aclosing(stream):
                async for event in stream:
                    match event:
                        case Started():
                            usage.prompt_tokens, usage.cached_tokens = event.prompt_tokens, event.cached_tokens
                            place = await self._keep_input(caller, past, said, instructions, claims)
                            yield replace(event, response_id=place.response_id)
                        case Piece():
                            text.append(event.text)
                            usage.completion_tokens += event.token_count
                            yield event
                        case Ended():
                            end = event
                            usage.completion_tokens = event.completion_tokens
                            reason = FINISH_REASON_EOS if event.reason == "stop" else FINISH_REASON_MAX_TOKENS
        except errors.Unavailable:
            reason = FINISH_REASON_ENGINE_LOST
            raise
        finally:
            async with claims:
                if place is not None and (text or end is not None):
                    reply = ChatMessage(
                        role=ROLE_ASSISTANT,
                        content="".join(text),
                        finish_reason=reason,
                        usage=usage,
                        reply_to=place.message,
                    )
                    await self._history.append_reply(caller.user_id, place.request_id, place.conversation, reply, None)
        if end is not None:
            yield end

    async def _keep_input(
        self,
        caller: Caller,
        past: StoredResponse | None,
        said: Sequence[ChatMessage],
        instructions: str,
        claims: AsyncExitStack,
    ) -> _Place:
        """Stores what is responded to, and claims its conversation."""
        request_id = str(uuid.uuid4())
        if past is not None and past.is_last:
            conversation, messages = past.conversation, list(said)
        else:
            messages = [*(past.past if past is not None else ()), *said]
            first = next((m.content for m in messages if m.role == ROLE_USER), "")
            create = memory_pb.CreateConversationRequest(
                user_id=caller.user_id,
                conversation=memory_pb.Conversation(
                    title=title_of(first),
                    title_source=memory_pb.TITLE_SOURCE_FIRST_MESSAGE,
                    system_prompt=instructions,
                ),
                request_id=str(uuid.uuid4()),
            )
            created = await self._memory.call(self._memory.stub.CreateConversation, create, caller.time_left())
            conversation = created.conversation
        claims.enter_context(self._busy.claim(caller.user_id, conversation.name))
        hold = await claims.enter_async_context(self._busy.hold(caller, conversation.name))
        await hold.taken()
        last = ""
        expected = conversation.last_sequence
        for start in range(0, len(messages), _MOST_AT_ONCE):
            append = memory_pb.AppendMessagesRequest(
                user_id=caller.user_id,
                conversation=conversation.name,
                messages=[_plain(message) for message in messages[start : start + _MOST_AT_ONCE]],
                request_id=str(uuid.uuid4()),
                expected_last_sequence=expected,
            )
            try:
                appended = await self._memory.call(self._memory.stub.AppendMessages, append, caller.time_left())
            except errors.SequenceMismatch:
                raise busy_error() from None
            last, expected = appended.messages[-1].name, appended.messages[-1].sequence
        return _Place(response_id_of(last), conversation.name, last, request_id)

    async def _messages(self, caller: Caller, conversation: str) -> list[ChatMessage]:
        messages: list[ChatMessage] = []
        request = memory_pb.ListMessagesRequest(user_id=caller.user_id, conversation=conversation, page_size=_PAGE_SIZE)
        while True:
            page = await self._memory.call(self._memory.stub.ListMessages, request, caller.time_left())
            messages += page.messages
            if not page.next_page_token:
                return messages
            request.page_token = page.next_page_token


def _plain(message: ChatMessage) -> ChatMessage:
    """Returns what of a message is taken along into another conversation."""
    copy = ChatMessage(role=message.role, content=message.content, finish_reason=message.finish_reason)
    if message.HasField("create_time"):
        copy.create_time.CopyFrom(message.create_time)
    if message.HasField("usage"):
        copy.usage.CopyFrom(message.usage)
    return copy


def _not_found() -> errors.ResponseNotFound:
    return errors.ResponseNotFound("There is no such response; only those that were stored are kept.")
