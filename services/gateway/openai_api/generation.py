"""Asks the inference service for replies to what a request carries, and knows no conversation."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING

from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1.chat_message_pb2 import ROLE_SYSTEM
from services.gateway.openai_api.reply import Piece, Started, of_generation
from services.rpc.errors import ContextTooLong

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from chatbot.v1.chat_message_pb2 import ChatMessage
    from services.gateway.http.metrics import Metrics
    from services.gateway.identity import Caller
    from services.gateway.openai_api.reply import ReplyEvent
    from services.gateway.peers import InferencePeer
    from services.gateway.user_limits import UserLimits


class Generation:
    """Generates replies to prompts."""

    def __init__(self, inference: InferencePeer, metrics: Metrics, limits: UserLimits) -> None:
        self._inference = inference
        self._limits = limits
        self._metrics = metrics

    async def model_id(self, caller: Caller) -> str:
        """Returns the id of the model that answers."""
        return (await self._inference.model(caller.time_left())).id

    async def check_fits(
        self, prompt: Sequence[ChatMessage] | str, caller: Caller, cache_key: str | None = None
    ) -> None:
        """Checks a prompt's length, which has to be done before a stream is opened.

        Args:
            prompt: As for `chat` or `complete`.
            caller: Who asks.
            cache_key: As for `chat`.

        Raises:
            ContextTooLong: Prompt and reply do not fit the model's context.
        """
        if isinstance(prompt, str):
            request = inference_pb.CountTokensRequest(text=prompt, cache_key=_key(caller, ""))
        else:
            request = inference_pb.CountTokensRequest(
                messages=inference_pb.ChatMessages(messages=prompt), cache_key=_key(caller, _begins(prompt, cache_key))
            )
        count = await self._inference.count(request, request.cache_key, caller.time_left())
        if count.total_tokens >= count.context_tokens:
            raise ContextTooLong.of(count.total_tokens, count.context_tokens)

    def chat(
        self,
        prompt: Sequence[ChatMessage],
        caller: Caller,
        sampling: inference_pb.SamplingConfig,
        form: inference_pb.ResponseFormat | None,
        cache_key: str | None,
    ) -> AsyncGenerator[ReplyEvent, None]:
        """Streams the reply to a conversation.

        Args:
            prompt: As `prompt_of` returns it.
            caller: Who asks.
            sampling: How tokens are chosen.
            form: What form the reply must have; None: free text.
            cache_key: What the caller calls the prompts that begin alike; None: those with the same first message do.
        """
        system = prompt[0].content if prompt[0].role == ROLE_SYSTEM else ""
        request = inference_pb.GenerateRequest(
            messages=inference_pb.ChatMessages(messages=prompt),
            sampling=sampling,
            response_format=form,
            system_cache_key=_key(caller, system) if system else "",
        )
        return self._generate(request, caller, _begins(prompt, cache_key))

    def complete(
        self,
        prompt: str | Sequence[int],
        caller: Caller,
        sampling: inference_pb.SamplingConfig,
        form: inference_pb.ResponseFormat | None,
    ) -> AsyncGenerator[ReplyEvent, None]:
        """Streams what follows a text, given as such or as the model's tokens."""
        if isinstance(prompt, str):
            request = inference_pb.GenerateRequest(text=prompt, sampling=sampling, response_format=form)
        else:
            request = inference_pb.GenerateRequest(
                token_ids=inference_pb.TokenIds(ids=prompt), sampling=sampling, response_format=form
            )
        return self._generate(request, caller, "")

    async def _generate(
        self, request: inference_pb.GenerateRequest, caller: Caller, begins: str
    ) -> AsyncGenerator[ReplyEvent, None]:
        # Nobody finds out by the time to the first token what others have asked.
        request.cache_key = _key(caller, begins)
        # Goes to the replica that has the beginning in its cache.
        events = self._inference.generate(request, caller.user_id, request.cache_key, caller.time_left())
        with ExitStack() as place:
            count = place.enter_context(self._limits.reply(caller))
            async with aclosing(of_generation(events, self._metrics)) as reply:
                async for event in reply:
                    if isinstance(event, Started):
                        count(event.prompt_tokens - event.cached_tokens)
                    elif isinstance(event, Piece):
                        count(event.token_count)
                    else:
                        # Who reads this may have another reply at once.
                        place.close()
                    yield event


def _begins(prompt: Sequence[ChatMessage], cache_key: str | None) -> str:
    """Returns what tells prompts that begin alike."""
    spoken = prompt[1:] if prompt[0].role == ROLE_SYSTEM and prompt[0].content else prompt
    return cache_key or (spoken[0].content if spoken else "")


def _key(caller: Caller, text: str) -> str:
    return hashlib.sha256(f"stateless\0{caller.user_id}\0{text}".encode()).hexdigest()
