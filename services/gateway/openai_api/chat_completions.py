"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from chatbot.v1 import chat_service_pb2 as chat_pb
from services.gateway.http.client_gone import while_connected
from services.gateway.openai_api.chat_objects import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
)
from services.gateway.openai_api.chat_request import ChatCompletionRequest
from services.gateway.openai_api.event_stream import (
    DONE,
    PATIENCE_SECONDS,
    as_event,
    stream_replies,
)
from services.gateway.openai_api.logprobs import choice_logprobs
from services.gateway.openai_api.messages import prompt_of, text_of
from services.gateway.openai_api.reply import Ended, Piece, Started, of_turn
from services.gateway.openai_api.schema import read_body
from services.gateway.openai_api.timings import timings_of
from services.gateway.openai_api.usage import fingerprint, usage_of
from services.rpc.errors import invalid_field
from services.rpc.request_rules import check_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from chatbot.v1.inference_service_pb2 import TokenLogprob
    from services.gateway.chat_calls import ChatCalls
    from services.gateway.http.callers import Callers
    from services.gateway.http.metrics import Metrics
    from services.gateway.identity import Caller
    from services.gateway.openai_api.generation import Generation
    from services.gateway.openai_api.replies import Replies, ReplyTasks
    from services.gateway.openai_api.reply import FinishReason, ReplyEvent

CONVERSATION_HEADER = "x-conversation"
NEW_CONVERSATION = "new"
IDEMPOTENCY_HEADER = "idempotency-key"
_KEY_NAMESPACE = uuid.UUID("5d7e7f0c-6f0f-4a58-9e0b-0d1c8a3f5b11")


@dataclass(slots=True)
class _Reply:
    """What has come of one reply."""

    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)


class ChatCompletions:
    """The endpoint."""

    def __init__(
        self, generation: Generation, calls: ChatCalls, callers: Callers, metrics: Metrics, tasks: ReplyTasks
    ) -> None:
        self._tasks = tasks
        self._generation = generation
        self._calls = calls
        self._callers = callers
        self._metrics = metrics

    async def create(self, request: Request) -> Response:
        """Answers a request, whole or as a stream.

        Raises:
            ChatbotError: It cannot be carried out; nothing of a stream has been sent.
        """
        caller = await self._callers.of(request)
        asked = await read_body(request, ChatCompletionRequest)
        asked.check()
        conversation = _conversation(request, asked)
        if conversation is None:
            streams = await self._stateless(asked, caller)
        else:
            streams = [await self._turn(asked, caller, conversation, _request_id(request))]
        replies = self._tasks.start(streams)
        try:
            if not asked.stream:
                return JSONResponse(await while_connected(request, _whole(asked, replies)))
            await while_connected(request, replies.begin(PATIENCE_SECONDS))
        except BaseException:
            replies.close()
            raise
        return stream_replies(request, replies, _chunks(asked, replies, await self._generation.model_id(caller)))

    async def _stateless(self, asked: ChatCompletionRequest, caller: Caller) -> list[AsyncGenerator[ReplyEvent, None]]:
        prompt = prompt_of(asked.messages)
        form = asked.form
        samplings = [asked.config(asked.token_limit, asked.alternatives, place) for place in range(asked.choices)]
        if asked.stream:
            await self._generation.check_fits(prompt, caller, asked.prompt_cache_key)
        return [self._generation.chat(prompt, caller, sampling, form, asked.prompt_cache_key) for sampling in samplings]

    async def _turn(
        self, asked: ChatCompletionRequest, caller: Caller, conversation: str, request_id: str
    ) -> AsyncGenerator[ReplyEvent, None]:
        """A turn of a conversation: what the user says last is said in it; what was said before it knows itself."""
        if asked.choices > 1:
            raise invalid_field("n", "must be 1 in a conversation, which goes on with one reply")
        last = len(asked.messages) - 1
        if asked.messages[last].role != "user":
            raise invalid_field(f"messages[{last}].role", "must be user: in a conversation the last message is said")
        text = text_of(asked.messages[last].content, f"messages[{last}].content")
        check_text(text, f"messages[{last}].content")
        chat = chat_pb.ChatRequest(
            conversation="" if conversation == NEW_CONVERSATION else conversation,
            text=text,
            request_id=request_id,
            sampling=asked.config(asked.token_limit, asked.alternatives),
            response_format=asked.form,
        )
        model = await self._generation.model_id(caller)
        return of_turn(self._calls.chat(chat, caller), model, self._metrics)


async def _whole(asked: ChatCompletionRequest, replies: Replies) -> ChatCompletion:
    parts = [_Reply() for _ in range(asked.choices)]
    ends: dict[int, Ended] = {}
    started = Started("", 0, 0)
    async for place, event in replies.events():
        match event:
            case Started():
                started = event
            case Piece():
                parts[place].text.append(event.text)
                parts[place].logprobs += event.logprobs
            case Ended():
                ends[place] = event
    completion = ChatCompletion(
        id=_new_id(),
        object="chat.completion",
        created=int(time.time()),
        model=started.model,
        system_fingerprint=fingerprint(started.model),
        choices=[
            ChatChoice(
                index=place,
                message=AssistantMessage(role="assistant", content="".join(part.text), refusal=None),
                logprobs=choice_logprobs(part.logprobs) if asked.logprobs else None,
                finish_reason=ends[place].reason,
            )
            for place, part in enumerate(parts)
        ],
        usage=usage_of([ends[place] for place in range(len(parts))]),
    )
    if asked.timings_per_token and (timings := timings_of(ends[0])):
        completion["timings"] = timings
    if started.conversation:
        completion["conversation"] = started.conversation
    return completion


async def _chunks(asked: ChatCompletionRequest, replies: Replies, model: str) -> AsyncGenerator[bytes, None]:
    reply_id, created = _new_id(), int(time.time())
    include_usage = bool(asked.stream_options and asked.stream_options.include_usage)
    conversation = ""

    def chunk(*choices: ChatChunkChoice) -> ChatChunk:
        made = ChatChunk(
            id=reply_id,
            object="chat.completion.chunk",
            created=created,
            model=model,
            system_fingerprint=fingerprint(model),
            choices=list(choices),
        )
        if include_usage:
            made["usage"] = None
        if conversation:
            made["conversation"] = conversation
        return made

    def choice(
        place: int, delta: ChatDelta, tokens: tuple[TokenLogprob, ...] | None = None, reason: FinishReason | None = None
    ) -> ChatChunkChoice:
        told = choice_logprobs(tokens) if asked.logprobs and tokens is not None else None
        return ChatChunkChoice(index=place, delta=delta, logprobs=told, finish_reason=reason)

    ends: dict[int, Ended] = {}
    async for place, event in replies.events():
        match event:
            case Started():
                conversation = event.conversation
                yield as_event(chunk(choice(place, ChatDelta(role="assistant", content=None))))
            case Piece():
                yield as_event(chunk(choice(place, ChatDelta(content=event.text), event.logprobs)))
            case Ended():
                ends[place] = event
                yield as_event(chunk(choice(place, ChatDelta(), reason=event.reason)))
    if include_usage:
        last = chunk()
        last["usage"] = usage_of([ends[place] for place in range(asked.choices)])
        if asked.timings_per_token and (timings := timings_of(ends[0])):
            last["timings"] = timings
        yield as_event(last)
    yield DONE


def _conversation(request: Request, asked: ChatCompletionRequest) -> str | None:
    """Returns the conversation that a request is a turn of; None: it is of none.

    Raises:
        InvalidArgument: Header and field name different ones, or one of them none.
    """
    named = {name for name in (request.headers.get(CONVERSATION_HEADER), asked.conversation) if name is not None}
    if not named:
        return None
    if len(named) > 1:
        raise invalid_field("conversation", "must not differ from the header X-Conversation")
    (name,) = named
    if not name:
        raise invalid_field("conversation", f"must be a conversation's name, or {NEW_CONVERSATION}")
    return name


def _request_id(request: Request) -> str:
    """Returns the turn's id, the same for the same `Idempotency-Key`; empty where there is none."""
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if not key:
        return ""
    try:
        return str(uuid.UUID(key))
    except ValueError:
        return str(uuid.uuid5(_KEY_NAMESPACE, key))


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
