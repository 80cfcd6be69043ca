"""`CountTokens`, `GetModel`, `GetLoad`, and the service's own life."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from chatbot.v1 import chat_message_pb2 as chat
from chatbot.v1 import inference_service_pb2 as pb
from services.inference.engine.fake import REFUSED_TEXT, FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc import errors
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Serve = Callable[..., Awaitable[object]]


def _chat(*contents: str) -> pb.ChatMessages:
    return pb.ChatMessages(messages=[chat.ChatMessage(role=chat.ROLE_USER, content=c) for c in contents])


async def test_counted_tokens_are_those_that_generate_uses(serve: Serve):
    stub = await serve(FakeEngine())
    messages = _chat("one two three", "четыре пять")
    counted = await stub.CountTokens(pb.CountTokensRequest(messages=messages))
    started = await stub.Generate(pb.GenerateRequest(messages=messages)).read()
    assert counted.total_tokens == started.started.prompt_tokens
    assert list(counted.message_tokens) == [4, 3]
    assert counted.context_tokens == 4096


async def test_text_is_counted_without_message_shares(serve: Serve):
    stub = await serve(FakeEngine())
    counted = await stub.CountTokens(pb.CountTokensRequest(text="one two"))
    assert (counted.total_tokens, list(counted.message_tokens)) == (2, [])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CountTokensRequest(), "input"),
        (pb.CountTokensRequest(text=""), "text"),
        (pb.CountTokensRequest(texts=pb.Texts()), "texts.texts"),
        (pb.CountTokensRequest(texts=pb.Texts(texts=["a", ""])), "texts.texts[1]"),
        (pb.CountTokensRequest(messages=_chat("a", "")), "messages.messages[1].content"),
        (pb.CountTokensRequest(messages=_chat(REFUSED_TEXT)), "messages"),
        (
            pb.CountTokensRequest(messages=_chat("a"), response_format=pb.ResponseFormat(json_schema="[]")),
            "response_format.json_schema",
        ),
        (
            pb.CountTokensRequest(
                text="a", response_format=pb.ResponseFormat(json_schema=f'{{"title": "{REFUSED_TEXT}"}}')
            ),
            "response_format.json_schema",
        ),
    ],
)
async def test_what_cannot_be_counted_is_refused_by_its_field(
    serve: Serve, request_: pb.CountTokensRequest, field: str
):
    stub = await serve(FakeEngine())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CountTokens(request_)
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.InvalidArgument)
    assert [v.field for v in error.violations] == [field]


async def test_the_model_is_described_with_its_default_sampling(serve: Serve):
    stub = await serve(FakeEngine(languages=("en", "ru")))
    model = (await stub.GetModel(pb.GetModelRequest())).model
    assert (model.id, model.weights, model.device, model.architecture) == ("fake", "fp32", "cpu", "fake")
    assert list(model.languages) == ["en", "ru"]
    assert model.default_sampling.HasField("temperature")


async def test_an_idle_replica_has_no_load(serve: Serve):
    stub = await serve(FakeEngine(), max_running_requests=3)
    load = await stub.GetLoad(pb.GetLoadRequest())
    assert (load.running_requests, load.queued_requests, load.kv_tokens_used) == (0, 0, 0)
    assert load.max_running_requests == 3
    assert load.kv_tokens_capacity > 0


async def test_a_model_that_cannot_be_loaded_stops_the_start():
    def refuse(*_: object) -> FakeEngine:
        raise StartupError("The model is broken.")

    room = InferenceService(InferenceSettings(inference_grpc_port=0), load_engine=refuse)
    with pytest.raises(StartupError, match="broken"):
        await room.start()
    await room.stop()


async def test_the_model_is_loaded_off_the_event_loop():
    threads: list[threading.Thread] = []

    def load(*_: object) -> FakeEngine:
        threads.append(threading.current_thread())
        return FakeEngine()

    room = InferenceService(InferenceSettings(inference_grpc_port=0), load_engine=load)
    await room.start()
    assert threads[0] is not threading.current_thread()
    await room.stop()


async def test_a_dead_engine_is_told_to_whoever_keeps_the_service_alive(serve: Serve):
    engine = FakeEngine(die_after=0)
    room = InferenceService(InferenceSettings(inference_grpc_port=0), load_engine=lambda *_: engine)
    await room.start()
    stub = await serve(engine)
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in stub.Generate(pb.GenerateRequest(text="a")):
            pass
    assert "died" in await room.lost()
