"""`POST /v1/completions`: what follows a text, without any chat template."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import Field
from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from services.gateway.http.client_gone import while_connected
from services.gateway.openai_api.chat_request import StreamOptions, check_stream_options
from services.gateway.openai_api.event_stream import (
    DONE,
    PATIENCE_SECONDS,
    as_event,
    stream_replies,
)
from services.gateway.openai_api.logprobs import CompletionLogprobs, completion_logprobs
from services.gateway.openai_api.reply import Ended, FinishReason, Piece, Started
from services.gateway.openai_api.response_format import FormatFields, response_format
from services.gateway.openai_api.sampling import MAX_CHOICES, SamplingFields, TokenCount
from services.gateway.openai_api.schema import read_body
from services.gateway.openai_api.usage import Usage, fingerprint, usage_of
from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from chatbot.v1.inference_service_pb2 import TokenLogprob
    from services.gateway.http.callers import Callers
    from services.gateway.openai_api.generation import Generation
    from services.gateway.openai_api.replies import Replies, ReplyTasks

_DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""

Token = Annotated[int, Field(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Prompts = Annotated[list[Text], Field(min_length=1, max_length=MAX_CHOICES)]
TokenPrompts = Annotated[list[Tokens], Field(min_length=1, max_length=MAX_CHOICES)]


class CompletionRequest(SamplingFields):
    """A request to go on from texts, or from the model's own tokens."""

    prompt: Text | Prompts | Tokens | TokenPrompts
    model: str | None = None
    max_tokens: TokenCount | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: FormatFields | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: Any = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each of the prompts."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        prompts: list[str | list[int]] = []
        tokens: list[int] = []
        for item in self.prompt:
            if isinstance(item, int):
                tokens.append(item)
            else:
                prompts.append(item)
        return prompts or [tokens]

    def check(self) -> None:
        """Checks what no field says by itself.

        Raises:
            InvalidArgument: Something is asked for that cannot be done.
        """
        check_stream_options(self.stream, self.stream_options)
        if self.echo:
            raise invalid_field("echo", "is not supported")
        if self.suffix:
            raise invalid_field("suffix", "is not supported")
        if self.best_of is not None and self.best_of != self.choices:
            raise invalid_field("best_of", "is not supported, unless it is n")
        if len(self.prompts) * self.choices > MAX_CHOICES:
            raise invalid_field("n", f"asks for more than {MAX_CHOICES} replies, to all prompts together")
        for place, prompt in enumerate(self.prompts):
            if isinstance(prompt, str) and "\0" in prompt:
                raise invalid_field(f"prompt[{place}]", "must not have NUL in it")


class CompletionChoice(TypedDict):
    """One of the texts, or more of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class Completion(TypedDict):
    """Whole texts, or one event of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


class Completions:
    """The endpoint."""

    def __init__(self, generation: Generation, callers: Callers, tasks: ReplyTasks) -> None:
        self._tasks = tasks
        self._generation = generation
        self._callers = callers

    async def create(self, request: Request) -> Response:
        """Answers a request, whole or as a stream.

        Raises:
            ChatbotError: It cannot be carried out; nothing of a stream has been sent.
        """
        caller = await self._callers.of(request)
        asked = await read_body(request, CompletionRequest)
        asked.check()
        form = response_format(asked.response_format)
        limit = asked.max_tokens or _DEFAULT_MAX_TOKENS
        samplings = [asked.config(limit, asked.logprobs, choice) for choice in range(asked.choices)]
        if asked.stream:
            for prompt in asked.prompts:
                # Tokens need no counting: what is wrong with them is known before the model takes the request up.
                if isinstance(prompt, str):
                    await self._generation.check_fits(prompt, caller)
        model = await self._generation.model_id(caller)
        replies = self._tasks.start(
            [
                self._generation.complete(prompt, caller, sampling, form)
                for prompt in asked.prompts
                for sampling in samplings
            ]
        )
        try:
            if not asked.stream:
                return JSONResponse(await while_connected(request, _whole(asked, replies, model)))
            await while_connected(request, replies.begin(PATIENCE_SECONDS))
        except BaseException:
            replies.close()
            raise
        return stream_replies(request, replies, _chunks(asked, replies, model))


async def _whole(asked: CompletionRequest, replies: Replies, model: str) -> Completion:
    count = len(asked.prompts) * asked.choices
    texts: list[list[str]] = [[] for _ in range(count)]
    tokens: list[list[TokenLogprob]] = [[] for _ in range(count)]
    ends: dict[int, Ended] = {}
    async for place, event in replies.events():
        match event:
            case Piece():
                texts[place].append(event.text)
                tokens[place] += event.logprobs
            case Ended():
                ends[place] = event
            case Started():
                pass
    choices = [
        CompletionChoice(
            index=place,
            text="".join(texts[place]),
            logprobs=completion_logprobs(tokens[place], 0) if asked.logprobs is not None else None,
            finish_reason=ends[place].reason,
        )
        for place in range(count)
    ]
    completion = _completion(_new_id(), int(time.time()), model, *choices)
    completion["usage"] = usage_of([ends[place] for place in range(count)], len(asked.prompts))
    return completion


async def _chunks(asked: CompletionRequest, replies: Replies, model: str) -> AsyncGenerator[bytes, None]:
    reply_id, created = _new_id(), int(time.time())
    include_usage = bool(asked.stream_options and asked.stream_options.include_usage)
    count = len(asked.prompts) * asked.choices
    lengths = [0] * count
    ends: dict[int, Ended] = {}

    def chunk(*choices: CompletionChoice) -> Completion:
        made = _completion(reply_id, created, model, *choices)
        if include_usage:
            made["usage"] = None
        return made

    async for place, event in replies.events():
        match event:
            case Piece():
                told = completion_logprobs(event.logprobs, lengths[place]) if event.logprobs else None
                lengths[place] += len(event.text)
                yield as_event(chunk(CompletionChoice(index=place, text=event.text, logprobs=told, finish_reason=None)))
            case Ended():
                ends[place] = event
                yield as_event(chunk(CompletionChoice(index=place, text="", logprobs=None, finish_reason=event.reason)))
            case Started():
                pass
    if include_usage:
        last = chunk()
        last["usage"] = usage_of([ends[place] for place in range(count)], len(asked.prompts))
        yield as_event(last)
    yield DONE


def _completion(reply_id: str, created: int, model: str, *choices: CompletionChoice) -> Completion:
    return Completion(
        id=reply_id,
        object="text_completion",
        created=created,
        model=model,
        system_fingerprint=fingerprint(model),
        choices=list(choices),
    )


def _new_id() -> str:
    return f"cmpl-{uuid.uuid4().hex}"
