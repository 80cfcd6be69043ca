"""`InferenceService` at the door: protocol in, protocol out, nothing decided in between."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from chatbot.v1 import inference_service_pb2, inference_service_pb2_grpc
from services.inference.caller import caller_of
from services.inference.engine.protocol import ChatPrompt, EngineDied, EngineRequest, PromptRefused, SchemaRefused
from services.inference.requests import (
    SCHEMA_FIELD,
    count_prompt,
    count_texts,
    generate_prompt,
    json_schema,
    resolve_sampling,
)
from services.inference.responses import generate_response, model_message
from services.rpc.deadlines import time_left
from services.rpc.errors import ContextTooLong, EngineLost, ModelLoading, invalid_field
from services.rpc.request_rules import check_sampling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.inference.admission import Admission
    from services.inference.engine.protocol import Engine, Prompt, UntokenizedPrompt
    from services.rpc.interceptor import Context

_LOADING_RETRY_SECONDS = 2.0
_LOST_RETRY_SECONDS = 5.0


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Answers MODEL_LOADING until it is given an engine."""

    def __init__(self, admission: Admission, max_tokens_limit: int) -> None:
        self._admission = admission
        self._max_tokens_limit = max_tokens_limit
        self.engine: Engine | None = None
        """What generates; set once the model is loaded."""

    async def Generate(  # noqa: D102 - documented and named by the protocol
        self, request: inference_service_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[inference_service_pb2.GenerateResponse]:
        arrived = time.monotonic()
        engine = self._loaded()
        left = time_left(context)
        deadline = None if left is None else arrived + left
        check_sampling(request.sampling)
        asked = generate_prompt(request, engine.model)
        schema = json_schema(request.response_format)
        caller = caller_of(request, context)
        async with self._admission.enter(caller):
            if schema is not None:
                await _check_schema(engine, schema)
            prompt = asked if isinstance(asked, tuple) else await _tokenized(engine, asked, request.cache_key)
            system_tokens = 0
            if isinstance(asked, ChatPrompt) and request.system_cache_key:
                system_tokens = await engine.system_tokens(asked, request.system_cache_key)
            tokens, untokenized = (prompt, None) if isinstance(prompt, tuple) else ((), prompt)
            n_prompt = len(tokens) if untokenized is None else untokenized.estimated_tokens
            if n_prompt >= engine.model.context_tokens:
                raise ContextTooLong.of(n_prompt, engine.model.context_tokens)
            sampling = resolve_sampling(request.sampling, engine.model, n_prompt, self._max_tokens_limit)
            async with self._admission.run(caller, deadline):
                job = EngineRequest(
                    tokens,
                    sampling,
                    request.cache_key,
                    request.system_cache_key,
                    system_tokens,
                    deadline=deadline,
                    arrived=arrived,
                    untokenized=untokenized,
                    json_schema=schema,
                    caller=caller,
                )
                # Closed by us, so that the model stops now and not when the garbage collector finds it.
                async with aclosing(engine.generate(job)) as events:
                    try:
                        async for event in events:
                            yield generate_response(event, engine.model, n_prompt, sampling)
                    except SchemaRefused as refusal:
                        raise invalid_field(SCHEMA_FIELD, str(refusal)) from None
                    except EngineDied:
                        raise EngineLost(
                            "The model stopped working while it answered.", retry_after=_LOST_RETRY_SECONDS
                        ) from None

    async def CountTokens(  # noqa: D102 - documented and named by the protocol
        self, request: inference_service_pb2.CountTokensRequest, context: Context
    ) -> inference_service_pb2.CountTokensResponse:
        engine = self._loaded()
        if request.HasField("texts"):
            counts = await engine.count_texts(count_texts(request.texts), request.cache_key)
            return inference_service_pb2.CountTokensResponse(
                total_tokens=sum(counts), message_tokens=counts, context_tokens=engine.model.context_tokens
            )
        prompt = count_prompt(request)
        schema = json_schema(request.response_format)
        if schema is not None:
            await _check_schema(engine, schema)
        try:
            count = await engine.count(prompt, request.cache_key)
        except PromptRefused as refusal:
            raise invalid_field("messages", str(refusal)) from None
        return inference_service_pb2.CountTokensResponse(
            total_tokens=count.total,
            message_tokens=count.per_message,
            context_tokens=engine.model.context_tokens,
        )

    async def GetModel(  # noqa: D102 - documented and named by the protocol
        self, request: inference_service_pb2.GetModelRequest, context: Context
    ) -> inference_service_pb2.GetModelResponse:
        return inference_service_pb2.GetModelResponse(model=model_message(self._loaded().model, self._max_tokens_limit))

    async def GetLoad(  # noqa: D102 - documented and named by the protocol
        self, request: inference_service_pb2.GetLoadRequest, context: Context
    ) -> inference_service_pb2.GetLoadResponse:
        load = self._loaded().load()
        return inference_service_pb2.GetLoadResponse(
            running_requests=load.running,
            queued_requests=self._admission.queued + load.queued,
            max_running_requests=self._admission.max_running,
            kv_tokens_used=load.kv_tokens_used,
            kv_tokens_capacity=load.kv_tokens_capacity,
            tokens_per_second=load.tokens_per_second,
        )

    def _loaded(self) -> Engine:
        if self.engine is None:
            raise ModelLoading("The model is still being loaded.", retry_after=_LOADING_RETRY_SECONDS)
        return self.engine


async def _check_schema(engine: Engine, schema: str) -> None:
    try:
        await engine.check_schema(schema)
    except SchemaRefused as refusal:
        raise invalid_field(SCHEMA_FIELD, str(refusal)) from None


async def _tokenized(engine: Engine, prompt: Prompt, cache_key: str) -> tuple[int, ...] | UntokenizedPrompt:
    try:
        tokenized = await engine.tokenize(prompt, cache_key)
    except PromptRefused as refusal:
        raise invalid_field("messages", str(refusal)) from None
    if tokenized == ():
        raise invalid_field("text", "must have at least one token")
    return tokenized
