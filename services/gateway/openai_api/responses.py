"""`POST /v1/responses`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from chatbot.v1.chat_message_pb2 import ROLE_SYSTEM, ChatMessage
from services.gateway.http.client_gone import while_connected
from services.gateway.openai_api.event_stream import PATIENCE_SECONDS, as_event, stream_replies
from services.gateway.openai_api.logprobs import choice_logprobs
from services.gateway.openai_api.messages import merged, read_messages
from services.gateway.openai_api.reply import Ended, Piece, Started
from services.gateway.openai_api.response_format import response_format
from services.gateway.openai_api.response_objects import (
    ResponseObject,
    ended_response,
    new_response,
    output_message,
    output_text,
)
from services.gateway.openai_api.response_request import ResponseRequest
from services.gateway.openai_api.schema import read_body
from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from chatbot.v1.inference_service_pb2 import TokenLogprob
    from services.gateway.http.callers import Callers
    from services.gateway.http.failures import ErrorBody
    from services.gateway.openai_api.generation import Generation
    from services.gateway.openai_api.replies import Replies, ReplyTasks
    from services.gateway.openai_api.stored_responses import StoredResponses


class Responses:
    """The endpoint."""

    def __init__(self, generation: Generation, stored: StoredResponses, callers: Callers, tasks: ReplyTasks) -> None:
        self._tasks = tasks
        self._generation = generation
        self._stored = stored
        self._callers = callers

    async def create(self, request: Request) -> Response:
        """Answers a request, whole or as a stream.

        Raises:
            ChatbotError: It cannot be carried out; nothing of a stream has been sent.
        """
        caller = await self._callers.of(request)
        asked = await read_body(request, ResponseRequest)
        asked.check()
        sampling = asked.config(asked.max_output_tokens, asked.alternatives)
        form = response_format(asked.text.format if asked.text is not None else None, "text.format")
        said = [message for message in read_messages(asked.messages, "input") if message.content]
        if not said:
            raise invalid_field("input", "must not all be empty")
        past = None
        if asked.previous_response_id is not None:
            past = await self._stored.previous(caller, asked.previous_response_id)
        told = [ChatMessage(role=ROLE_SYSTEM, content=asked.instructions)] if asked.instructions else []
        prompt = merged([*told, *(past.past if past is not None else ()), *said], "input")
        model = await self._generation.model_id(caller)
        await self._generation.check_fits(prompt, caller, asked.prompt_cache_key)
        stream = self._generation.chat(prompt, caller, sampling, form, asked.prompt_cache_key)
        if asked.is_stored:
            stream = self._stored.kept(caller, past, said, asked.instructions or "", stream)
        response = new_response(asked, f"resp_{uuid.uuid4().hex}", model)
        replies = self._tasks.start([stream])
        try:
            if not asked.stream:
                return JSONResponse(await while_connected(request, _whole(response, replies)))
            await while_connected(request, replies.begin(PATIENCE_SECONDS))
        except BaseException:
            replies.close()
            raise
        events = _Events(response)
        return stream_replies(request, replies, events.all(replies), on_error=events.error)


async def _whole(response: ResponseObject, replies: Replies) -> ResponseObject:
    text: list[str] = []
    tokens: list[TokenLogprob] = []
    ended = response
    async for _, event in replies.events():
        match event:
            case Started():
                response["id"] = event.response_id or response["id"]
            case Piece():
                text.append(event.text)
                tokens += event.logprobs
            case Ended():
                content = output_text("".join(text), choice_logprobs(tokens)["content"])
                ended = ended_response(response, content, event)
    return ended


class _Events:
    """The events of one response, numbered."""

    def __init__(self, response: ResponseObject) -> None:
        self._response = response
        self._number = -1

    async def all(self, replies: Replies) -> AsyncGenerator[bytes, None]:
        """Yields them."""
        response = self._response
        in_item: dict[str, Any] = {"output_index": 0}
        in_part: dict[str, Any] = {"output_index": 0, "content_index": 0}
        text: list[str] = []
        tokens: list[TokenLogprob] = []
        async for _, event in replies.events():
            match event:
                case Started():
                    response["id"] = event.response_id or response["id"]
                    item = output_message(response, None, "in_progress")
                    in_part["item_id"] = item["id"]
                    yield self._event("response.created", response=response)
                    yield self._event("response.in_progress", response=response)
                    yield self._event("response.output_item.added", item=item, **in_item)
                    yield self._event("response.content_part.added", part=output_text("", []), **in_part)
                case Piece():
                    text.append(event.text)
                    tokens += event.logprobs
                    told = choice_logprobs(event.logprobs)["content"]
                    yield self._event("response.output_text.delta", delta=event.text, logprobs=told, **in_part)
                case Ended():
                    content = output_text("".join(text), choice_logprobs(tokens)["content"])
                    ended = ended_response(response, content, event)
                    yield self._event(
                        "response.output_text.done", text=content["text"], logprobs=content["logprobs"], **in_part
                    )
                    yield self._event("response.content_part.done", part=content, **in_part)
                    yield self._event("response.output_item.done", item=ended["output"][0], **in_item)
                    yield self._event(f"response.{ended['status']}", response=ended)

    def error(self, body: ErrorBody) -> bytes:
        """Returns the event that ends a stream that broke off."""
        facts = body["error"]
        # As OpenAI has it, and once more under `error`, by which its client knows a stream that broke off.
        told = {"code": facts["code"], "message": facts["message"], "param": facts["param"]}
        return self._event("error", **told, error=facts)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return as_event({"type": kind, "sequence_number": self._number, **fields}, kind)
