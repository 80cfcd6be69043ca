"""One turn, top to bottom: the data walk of the whole project.

    check → find the conversation → build the prompt → append the user's message → generate
          → stream the deltas → append the reply

What holds, whatever happens on the way:

- Nothing is stored before everything about the request has been checked, the length of the prompt included.
- The user's message is durable before a token is generated, the reply as soon as it has ended: in full, or as
  far as it got where the caller stopped it or went away, its deadline passed, or the engine was lost.
- A repeated `request_id` never generates twice: it replays what was stored. Where nothing was (the gateway
  itself went down between message and reply), the turn is taken up again.
- Two turns of one conversation never interleave; the second is told CONVERSATION_BUSY.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
import uuid
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import (
    FINISH_REASON_CANCELLED,
    FINISH_REASON_DEADLINE,
    FINISH_REASON_ENGINE_LOST,
    ROLE_ASSISTANT,
    ROLE_USER,
    ChatMessage,
    FinishReason,
)
from services.gateway.busy import BusyConversations, busy_error
from services.gateway.prompt_builder import BuiltPrompt, PromptBuilder, RecallLimits
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from services.gateway.peers import Peers
    from services.gateway.settings import GatewaySettings

_log = structlog.get_logger()

TurnEvent = chat_pb.ReplyStarted | chat_pb.ReplyDelta | chat_pb.ReplyFinished

_PAGE_SIZE = 100
_LONGEST_TITLE = 60
"""Characters."""

_APPEND_PATIENCE_SECONDS = 15.0
_APPEND_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Caller:
    """Who waits for a turn, and how long."""

    user_id: str
    time_left: Callable[[], float | None]
    """Returns the seconds that the next call may take, or None; raises DeadlineExceeded where none are left."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that is about to be generated: everything about it is known and its message is stored."""

    user_id: str
    request_id: str
    conversation: str
    message: ChatMessage
    built: BuiltPrompt
    sampling: inference_pb.SamplingConfig
    replaces_from: int | None
    """Sequence from which earlier replies are superseded; None: nothing is."""


class ChatTurns:
    """Takes turns."""

    def __init__(self, peers: Peers, settings: GatewaySettings) -> None:
        self._peers = peers
        self._prompts = PromptBuilder(peers, settings)
        self._settings = settings
        self._busy = BusyConversations()
        self._appends: set[asyncio.Task[ChatMessage]] = set()

    async def chat(self, caller: Caller, request: chat_pb.ChatRequest) -> AsyncGenerator[TurnEvent, None]:
        """Says `request.text` and streams the reply.

        The request's text, ids and sampling have been checked. Closing the iterator stops the model and keeps
        what it has said.

        Raises:
            ChatbotError: See `ChatService.Chat`.
        """
        recall = RecallLimits.of(request.recall, self._settings)
        conversation = memory_pb.Conversation()
        if request.conversation:
            conversation = await self._get_conversation(caller, request.conversation)
        with ExitStack() as claims:
            # A new conversation follows from its request, so the turn is claimed before it exists.
            claims.enter_context(self._busy.claim(caller.user_id, conversation.name or request.request_id))
            built = await self._prompts.build(
                caller.user_id, conversation, request.text, recall, time_left=caller.time_left()
            )
            if not conversation.name:
                conversation = await self._create_conversation(caller, request)
                claims.enter_context(self._busy.claim(caller.user_id, conversation.name))
            message, replayed = await self._append_message(caller, conversation, request)
            if replayed:
                outcome = await self._stored_reply(caller, message, request.request_id)
                if outcome is not None:
                    for event in _replay(message, outcome):
                        yield event
                    return
                built = await self._resumed(caller, message, recall)
            elif built.window_moved:
                await self._store_window_start(caller, message, built)
            turn = Turn(caller.user_id, request.request_id, conversation.name, message, built, request.sampling, None)
            async with aclosing(self._generate(caller, turn)) as events:
                async for event in events:
                    yield event

    async def regenerate(self, caller: Caller, request: chat_pb.RegenerateRequest) -> AsyncGenerator[TurnEvent, None]:
        """Replies to the conversation's last message anew and streams as `chat` does.

        Raises:
            ChatbotError: See `ChatService.Regenerate`.
        """
        recall = RecallLimits.of(request.recall, self._settings)
        conversation = await self._get_conversation(caller, request.conversation)
        with self._busy.claim(caller.user_id, conversation.name):
            message = await self._last_user_message(caller, conversation.name)
            outcome = await self._stored_reply(caller, message, request.request_id)
            if outcome is not None:
                for event in _replay(message, outcome):
                    yield event
                return
            built = await self._prompts.build(
                caller.user_id,
                conversation,
                message.content,
                recall,
                before_sequence=message.sequence,
                time_left=caller.time_left(),
            )
            turn = Turn(
                caller.user_id,
                request.request_id,
                conversation.name,
                message,
                built,
                request.sampling,
                replaces_from=message.sequence + 1,
            )
            async with aclosing(self._generate(caller, turn)) as events:
                async for event in events:
                    yield event

    async def context(self, caller: Caller, request: chat_pb.GetContextRequest) -> BuiltPrompt:
        """Returns the prompt that `chat` would build. Stores nothing."""
        recall = RecallLimits.of(request.recall, self._settings)
        conversation = memory_pb.Conversation()
        if request.conversation:
            conversation = await self._get_conversation(caller, request.conversation)
        return await self._prompts.build(
            caller.user_id, conversation, request.text, recall, time_left=caller.time_left()
        )

    async def finish_appends(self) -> None:
        """Waits until every reply that has ended is stored."""
        while self._appends:
            await asyncio.wait(self._appends)

    # The steps, in the order of the walk.

    async def _get_conversation(self, caller: Caller, name: str) -> memory_pb.Conversation:
        request = memory_pb.GetConversationRequest(user_id=caller.user_id, conversation=name)
        response = await self._peers.memory.call(self._peers.memory.stub.GetConversation, request, caller.time_left())
        return response.conversation

    async def _create_conversation(self, caller: Caller, request: chat_pb.ChatRequest) -> memory_pb.Conversation:
        create = memory_pb.CreateConversationRequest(
            user_id=caller.user_id,
            conversation=memory_pb.Conversation(title=_title_of(request.text)),
            request_id=_derived(request.request_id, "conversation"),
        )
        response = await self._peers.memory.call(self._peers.memory.stub.CreateConversation, create, caller.time_left())
        return response.conversation

    async def _append_message(
        self, caller: Caller, conversation: memory_pb.Conversation, request: chat_pb.ChatRequest
    ) -> tuple[ChatMessage, bool]:
        """Stores the user's message; returns it, and whether it had been stored before."""
        append = memory_pb.AppendMessagesRequest(
            user_id=caller.user_id,
            conversation=conversation.name,
            messages=[ChatMessage(role=ROLE_USER, content=request.text)],
            request_id=request.request_id,
            # Another gateway may have begun a turn since the conversation was read.
            expected_last_sequence=conversation.last_sequence,
        )
        try:
            response = await self._peers.memory.call(self._peers.memory.stub.AppendMessages, append, caller.time_left())
        except errors.SequenceMismatch:
            raise busy_error() from None
        return response.messages[0], response.replayed

    async def _stored_reply(self, caller: Caller, message: ChatMessage, request_id: str) -> ChatMessage | None:
        """Returns the reply that a request has stored to a message, also where it was superseded since."""
        wanted = _derived(request_id, "reply")
        request = memory_pb.ListMessagesRequest(
            user_id=caller.user_id,
            conversation=_conversation_of(message),
            page_size=_PAGE_SIZE,
            start_sequence=message.sequence + 1,
            include_superseded=True,
        )
        while True:
            page = await self._peers.memory.call(self._peers.memory.stub.ListMessages, request, caller.time_left())
            for candidate in page.messages:
                if candidate.request_id == wanted:
                    return candidate
            if not page.next_page_token:
                return None
            request.page_token = page.next_page_token

    async def _resumed(self, caller: Caller, message: ChatMessage, recall: RecallLimits) -> BuiltPrompt:
        """Returns the prompt for a message that was stored earlier and never got its reply."""
        conversation = await self._get_conversation(caller, _conversation_of(message))
        if conversation.last_sequence != message.sequence:
            raise errors.FailedPrecondition(
                "This turn was lost before its reply was generated, and the conversation has gone on since; "
                "say it again with a new request_id."
            )
        return await self._prompts.build(
            caller.user_id,
            conversation,
            message.content,
            recall,
            before_sequence=message.sequence,
            time_left=caller.time_left(),
        )

    async def _last_user_message(self, caller: Caller, conversation: str) -> ChatMessage:
        request = memory_pb.ListMessagesRequest(
            user_id=caller.user_id,
            conversation=conversation,
            page_size=1,
            order=memory_pb.LIST_ORDER_NEWEST_FIRST,
            filter=memory_pb.MessageFilter(roles=[ROLE_USER]),
        )
        page = await self._peers.memory.call(self._peers.memory.stub.ListMessages, request, caller.time_left())
        if not page.messages:
            raise errors.NothingToRegenerate("The conversation has no message of the user to reply to.")
        return page.messages[0]

    async def _store_window_start(self, caller: Caller, message: ChatMessage, built: BuiltPrompt) -> None:
        request = memory_pb.UpdateConversationRequest(
            user_id=caller.user_id,
            conversation=memory_pb.Conversation(
                name=_conversation_of(message), window_start_sequence=built.prompt.window_start
            ),
            update_mask=FieldMask(paths=["window_start_sequence"]),
            request_id=str(uuid.uuid4()),
        )
        await self._peers.memory.call(self._peers.memory.stub.UpdateConversation, request, caller.time_left())

    async def _generate(self, caller: Caller, turn: Turn) -> AsyncGenerator[TurnEvent, None]:
        """Streams the reply and stores it, however it ends."""
        text: list[str] = []
        finished = inference_pb.GenerateResponse.Finished()
        ended: FinishReason = FINISH_REASON_CANCELLED  # what holds where nothing else comes to be known
        started = False
        try:
            request = inference_pb.GenerateRequest(
                messages=inference_pb.ChatMessages(messages=turn.built.prompt.messages()),
                sampling=turn.sampling,
                # A prompt's beginning is found again by its own conversation and by no one else.
                cache_key=hashlib.sha256(f"{turn.user_id}\0{turn.conversation}".encode()).hexdigest(),
            )
            stream = self._peers.inference.generate(request, turn.conversation, caller.time_left())
            async with aclosing(stream) as events:
                async for event in events:
                    if event.HasField("started"):
                        started = True
                        yield _started(turn, event.started)
                    elif event.HasField("delta"):
                        # Kept before it is passed on: the caller may be gone.
                        text.append(event.delta.text)
                        yield chat_pb.ReplyDelta(text=event.delta.text, token_count=event.delta.token_count)
                    else:
                        finished = event.finished
                        ended = finished.finish_reason
        except errors.DeadlineExceeded:
            ended = FINISH_REASON_DEADLINE
            if not text:
                raise
        except errors.Unavailable:
            ended = FINISH_REASON_ENGINE_LOST
            if not text:
                # Nothing is worth keeping, and the same request can simply be made again.
                raise
        finally:
            # Reached also by cancellation and by the iterator being closed; then nothing can be yielded any more.
            append: asyncio.Task[ChatMessage] | None = None
            if text or (started and finished.finish_reason):
                append = self._append_later(turn, "".join(text), ended, finished)
                await asyncio.shield(append)
        if append is not None:
            yield chat_pb.ReplyFinished(
                message=append.result(), timings=finished.timings if finished.HasField("timings") else None
            )

    def _append_later(
        self, turn: Turn, text: str, ended: FinishReason, finished: inference_pb.GenerateResponse.Finished
    ) -> asyncio.Task[ChatMessage]:
        """Starts storing a reply in a task of its own, which no caller's cancellation reaches."""
        reply = ChatMessage(
            role=ROLE_ASSISTANT,
            content=text,
            finish_reason=ended,
            usage=finished.usage if finished.HasField("usage") else None,
            reply_to=turn.message.name,
        )
        request = memory_pb.AppendMessagesRequest(
            user_id=turn.user_id,
            conversation=turn.conversation,
            messages=[reply],
            request_id=_derived(turn.request_id, "reply"),
            supersede_from_sequence=turn.replaces_from,
        )
        task = asyncio.create_task(self._append_reply(request))
        self._appends.add(task)
        task.add_done_callback(self._appends.discard)
        return task

    async def _append_reply(self, request: memory_pb.AppendMessagesRequest) -> ChatMessage:
        """Stores a reply. Outlasts a restart of the memory service: repeating the request is safe."""
        give_up_at = asyncio.get_running_loop().time() + _APPEND_PATIENCE_SECONDS
        while True:
            try:
                response = await self._peers.memory.call(self._peers.memory.stub.AppendMessages, request)
                return response.messages[0]
            except (errors.Unavailable, errors.DeadlineExceeded) as failure:
                if asyncio.get_running_loop().time() >= give_up_at:
                    _log.error("a reply could not be stored", reason=failure.reason)
                    raise
            except errors.ChatbotError as failure:
                _log.error("a reply could not be stored", reason=failure.reason)
                raise
            await asyncio.sleep(_APPEND_RETRY_SECONDS)


def _derived(request_id: str, what: str) -> str:
    """Returns the request id of a write that belongs to a turn: the same one whenever the turn is repeated."""
    return str(uuid.uuid5(uuid.UUID(request_id), what))


def _title_of(text: str) -> str:
    """Returns what a conversation that opens with a text is listed as: its beginning, on one line."""
    # Control characters would act on whatever terminal lists it.
    words = " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())
    return words if len(words) <= _LONGEST_TITLE else f"{words[: _LONGEST_TITLE - 1].rstrip()}…"


def _conversation_of(message: ChatMessage) -> str:
    return message.name.split("/messages/")[0]


def _started(turn: Turn, started: inference_pb.GenerateResponse.Started) -> chat_pb.ReplyStarted:
    return chat_pb.ReplyStarted(
        conversation=turn.conversation,
        message=turn.message,
        model=started.model,
        sampling=started.sampling,
        prompt_tokens=started.prompt_tokens,
        cached_tokens=started.cached_tokens,
        recalled=[recalled.hit for recalled in turn.built.prompt.recalled],
    )


def _replay(message: ChatMessage, reply: ChatMessage) -> list[TurnEvent]:
    events: list[TurnEvent] = [
        chat_pb.ReplyStarted(conversation=_conversation_of(message), message=message, replayed=True)
    ]
    if reply.content:
        events.append(chat_pb.ReplyDelta(text=reply.content, token_count=max(reply.usage.completion_tokens, 1)))
    events.append(chat_pb.ReplyFinished(message=reply))
    return events
