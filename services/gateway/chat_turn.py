"""One turn, top to bottom: the data walk of the whole project.

    check → find the conversation → build the prompt → append the user's message → generate
          → stream the deltas → append the reply → have done in the background what the turn has made due

What holds, whatever happens on the way:

- Nothing is stored before everything about the request has been checked, the length of the prompt included.
- The user's message is durable before a token is generated, the reply as soon as it has ended: in full, or as
  far as it got where the caller stopped it or went away, its deadline passed, or the engine was lost.
- A repeated `request_id` never generates twice: it replays what was stored. Where nothing was (the gateway
  itself went down between message and reply), the turn is taken up again.
- Two turns of one conversation never interleave; the second is told CONVERSATION_BUSY. Who reads that the first has
  finished is never told so: the conversation is let go before.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import (
    FINISH_REASON_CANCELLED,
    FINISH_REASON_DEADLINE,
    FINISH_REASON_ENGINE_LOST,
    ROLE_ASSISTANT,
    ChatMessage,
    FinishReason,
    GenerationTimings,
    Usage,
)
from services.gateway.history import conversation_of
from services.gateway.peers import Prompts
from services.gateway.prompt_builder import PromptBuilder, RecallLimits
from services.gateway.turn import Turn
from services.gateway.turn_event import replay
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.gateway.busy import BusyConversations
    from services.gateway.history import History
    from services.gateway.identity import Caller
    from services.gateway.peers import Peers
    from services.gateway.prompt_builder import BuiltPrompt
    from services.gateway.settings import GatewaySettings
    from services.gateway.turn_event import TurnEvent
    from services.gateway.upkeep import Upkeep


class ChatTurns:
    """Takes turns."""

    def __init__(
        self, peers: Peers, history: History, busy: BusyConversations, upkeep: Upkeep, settings: GatewaySettings
    ) -> None:
        self._inference = peers.inference
        self._prompts = PromptBuilder(peers, settings)
        self._settings = settings
        self._history = history
        self._upkeep = upkeep
        self._busy = busy

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
            conversation = await self._history.conversation(caller, request.conversation)
        supersede_from = _supersede_from(request, conversation)
        async with AsyncExitStack() as claims:
            # A new conversation follows from its request, so the turn is claimed before it exists.
            claims.enter_context(self._busy.claim(caller.user_id, conversation.name or request.request_id))
            hold = None
            if conversation.name:
                # Asked for while the prompt is built, which takes longer.
                hold = await claims.enter_async_context(self._busy.hold(caller, conversation.name))
            built = await self._prompts.build(
                caller.user_id,
                conversation,
                request.text,
                recall,
                before_sequence=supersede_from,
                form=request.response_format,
                time_left=caller.time_left(),
            )
            if hold is None:
                conversation = await self._history.create(caller, request.text, request.request_id)
                claims.enter_context(self._busy.claim(caller.user_id, conversation.name))
                hold = await claims.enter_async_context(self._busy.hold(caller, conversation.name))
            # From here on against other gateways' turns; that none was taken since the conversation was read is
            # seen by appending.
            await hold.taken()
            message, replayed = await self._history.append_message(
                caller, conversation, request.text, request.request_id, supersede_from
            )
            if replayed:
                outcome = await self._history.stored_reply(caller, message, request.request_id)
                if outcome is not None:
                    await claims.aclose()
                    for event in replay(message, outcome):
                        yield event
                    return
                built = await self._resumed(caller, message, recall)
            elif built.window_moved:
                await self._history.move_window(caller, conversation, built.prompt.window_start)
            turn = Turn(
                caller.user_id,
                request.request_id,
                conversation,
                message,
                built,
                request.sampling,
                request.response_format,
                replaces_from=None,
            )
            async with aclosing(self._generate(caller, turn, claims)) as events:
                async for event in events:
                    yield event

    async def regenerate(self, caller: Caller, request: chat_pb.RegenerateRequest) -> AsyncGenerator[TurnEvent, None]:
        """Replies to the conversation's last message anew and streams as `chat` does.

        Raises:
            ChatbotError: See `ChatService.Regenerate`.
        """
        recall = RecallLimits.of(request.recall, self._settings)
        conversation = await self._history.conversation(caller, request.conversation)
        async with AsyncExitStack() as claims:
            claims.enter_context(self._busy.claim(caller.user_id, conversation.name))
            hold = await claims.enter_async_context(self._busy.hold(caller, conversation.name))
            await hold.taken()
            message = await self._history.last_user_message(caller, conversation.name)
            outcome = await self._history.stored_reply(caller, message, request.request_id)
            if outcome is not None:
                await claims.aclose()
                for event in replay(message, outcome):
                    yield event
                return
            built = await self._prompts.build(
                caller.user_id,
                conversation,
                message.content,
                recall,
                before_sequence=message.sequence,
                form=request.response_format,
                time_left=caller.time_left(),
            )
            turn = Turn(
                caller.user_id,
                request.request_id,
                conversation,
                message,
                built,
                request.sampling,
                request.response_format,
                replaces_from=message.sequence + 1,
            )
            async with aclosing(self._generate(caller, turn, claims)) as events:
                async for event in events:
                    yield event

    async def append(
        self, caller: Caller, request: chat_pb.ChatServiceAppendMessagesRequest
    ) -> memory_pb.AppendMessagesResponse:
        """Stores messages that were said elsewhere: before a turn or after it, never between its two messages.

        Raises:
            ChatbotError: See `ChatService.AppendMessages`.
        """
        with self._busy.claim(caller.user_id, request.conversation):
            async with self._busy.hold(caller, request.conversation) as hold:
                await hold.taken()
                return await self._history.append_all(caller, request)

    async def context(self, caller: Caller, request: chat_pb.GetContextRequest) -> BuiltPrompt:
        """Returns the prompt that `chat` would build. Stores nothing."""
        recall = RecallLimits.of(request.recall, self._settings)
        conversation = memory_pb.Conversation()
        if request.conversation:
            conversation = await self._history.conversation(caller, request.conversation)
        built = await self._prompts.build(
            caller.user_id, conversation, request.text, recall, time_left=caller.time_left()
        )
        prompts = Prompts.of(caller.user_id, conversation.name)
        return replace(built, prompt_tokens=await self._prompts.exact_tokens(built, prompts, caller.time_left()))

    async def _resumed(self, caller: Caller, message: ChatMessage, recall: RecallLimits) -> BuiltPrompt:
        """Returns the prompt for a message that was stored earlier and never got its reply."""
        conversation = await self._history.conversation(caller, conversation_of(message))
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

    async def _generate(self, caller: Caller, turn: Turn, claims: AsyncExitStack) -> AsyncGenerator[TurnEvent, None]:
        """Streams the reply and stores it, however it ends. Gives the claims up once it is stored."""
        request = inference_pb.GenerateRequest(
            messages=inference_pb.ChatMessages(messages=turn.built.prompt.messages()),
            sampling=turn.sampling,
            response_format=turn.form,
            # A prompt's beginning is found again by its own conversation and by no one else.
            cache_key=Prompts.of(turn.user_id, turn.conversation).cache_key,
            system_cache_key=turn.built.system_cache_key,
        )
        text: list[str] = []
        usage = Usage()
        timings: GenerationTimings | None = None
        # What holds where nothing else comes to be known: the caller has gone.
        ended: FinishReason = FINISH_REASON_CANCELLED
        stored: ChatMessage | None = None
        try:
            stream = self._inference.generate(request, turn.user_id, turn.conversation, caller.time_left())
            async with aclosing(stream) as events:
                async for event in events:
                    if event.HasField("started"):
                        usage.prompt_tokens = event.started.prompt_tokens
                        usage.cached_tokens = event.started.cached_tokens
                        yield _started(turn, event.started)
                    elif event.HasField("delta"):
                        # Kept before it is passed on: the caller may be gone.
                        text.append(event.delta.text)
                        usage.completion_tokens += event.delta.token_count
                        delta = event.delta
                        yield chat_pb.ReplyDelta(
                            text=delta.text, token_count=delta.token_count, logprobs=delta.logprobs
                        )
                    else:
                        ended, usage = event.finished.finish_reason, event.finished.usage
                        timings = event.finished.timings
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
            # Reached by cancellation and by the iterator being closed too; then nothing can be yielded any more.
            if text or timings is not None:
                reply = ChatMessage(
                    role=ROLE_ASSISTANT,
                    content="".join(text),
                    finish_reason=ended,
                    usage=usage,
                    reply_to=turn.message.name,
                    quotes=[quoted.hit.message.name for quoted in turn.built.prompt.quoted],
                    quotes_start_sequence=turn.built.quotes_start,
                )
                stored = await self._history.append_reply(
                    turn.user_id, turn.request_id, turn.conversation, reply, turn.replaces_from
                )
                self._upkeep.after_turn(turn.user_id, turn.state, turn.built, turn.message, stored)
        if stored is not None:
            await claims.aclose()
            yield chat_pb.ReplyFinished(message=stored, timings=timings)


def _supersede_from(request: chat_pb.ChatRequest, conversation: memory_pb.Conversation) -> int | None:
    if not request.HasField("supersede_from_sequence"):
        return None
    sequence = request.supersede_from_sequence
    if not 1 <= sequence <= conversation.last_sequence:
        raise errors.invalid_field("supersede_from_sequence", "must be the sequence of a message of the conversation")
    return sequence


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
