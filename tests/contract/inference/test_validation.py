"""Requests that are wrong, each named by its field."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import grpc
import pytest

from chatbot.v1 import chat_message_pb2 as chat
from chatbot.v1 import inference_service_pb2 as pb
from services.inference.engine.fake import REFUSED_TEXT, FakeEngine
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Serve = Callable[..., Awaitable[object]]

USER = chat.ChatMessage(role=chat.ROLE_USER, content="hi")


async def _refusal(call) -> errors.ChatbotError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in call:
            pytest.fail("an event came")
    return errors.from_rpc_error(refused.value)


def _chat(*messages: chat.ChatMessage) -> pb.GenerateRequest:
    return pb.GenerateRequest(messages=pb.ChatMessages(messages=messages))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 5.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("top_k", -1),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("repetition_penalty", 10.1),
        ("frequency_penalty", -2.1),
        ("frequency_penalty", 2.1),
        ("presence_penalty", -math.inf),
        ("presence_penalty", 2.1),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("logprobs", -1),
        ("logprobs", 21),
    ],
)
async def test_a_sampling_value_out_of_range_is_named(serve: Serve, field: str, value: float):
    stub = await serve(FakeEngine())
    request = pb.GenerateRequest(text="a", sampling=pb.SamplingConfig(**{field: value}))
    error = await _refusal(stub.Generate(request))
    assert isinstance(error, errors.InvalidArgument)
    assert [v.field for v in error.violations] == [f"sampling.{field}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0), ("temperature", 5.0), ("top_p", 1.0), ("top_k", 0), ("top_k", 2**31 - 1), ("min_p", 1.0),
        ("repetition_penalty", 10.0), ("frequency_penalty", -2.0), ("presence_penalty", 2.0), ("seed", 2**64 - 1),
        ("max_tokens", 1), ("logprobs", 0), ("logprobs", 20),
    ],
)  # fmt: skip
async def test_the_ends_of_each_range_are_taken(serve: Serve, field: str, value: float):
    stub = await serve(FakeEngine())
    request = pb.GenerateRequest(text="a", sampling=pb.SamplingConfig(**{field: value}))
    assert [e async for e in stub.Generate(request)][-1].HasField("finished")


async def test_every_wrong_field_is_named_at_once(serve: Serve):
    stub = await serve(FakeEngine())
    config = pb.SamplingConfig(temperature=9, top_p=0, stop=["", "x" * 257, "ok"])
    error = await _refusal(stub.Generate(pb.GenerateRequest(text="a", sampling=config)))
    assert [v.field for v in error.violations] == [
        "sampling.temperature",
        "sampling.top_p",
        "sampling.stop[0]",
        "sampling.stop[1]",
    ]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GenerateRequest(), "input"),
        (pb.GenerateRequest(text=""), "text"),
        (pb.GenerateRequest(text="a\0b"), "text"),
        (pb.GenerateRequest(text="a" * 4_000_001), "text"),
        (pb.GenerateRequest(token_ids=pb.TokenIds()), "token_ids.ids"),
        (pb.GenerateRequest(token_ids=pb.TokenIds(ids=[1, -1])), "token_ids.ids[1]"),
        (pb.GenerateRequest(token_ids=pb.TokenIds(ids=[1_000_000])), "token_ids.ids[0]"),
        (_chat(), "messages.messages"),
        (_chat(USER, chat.ChatMessage(content="x")), "messages.messages[1].role"),
        (_chat(chat.ChatMessage(role=7, content="x")), "messages.messages[0].role"),
        (_chat(USER, chat.ChatMessage(role=chat.ROLE_SYSTEM, content="x")), "messages.messages[1].role"),
        (_chat(chat.ChatMessage(role=chat.ROLE_USER)), "messages.messages[0].content"),
        (_chat(chat.ChatMessage(role=chat.ROLE_USER, content="\0")), "messages.messages[0].content"),
        (_chat(chat.ChatMessage(role=chat.ROLE_USER, content="x", author="\0")), "messages.messages[0].author"),
        (_chat(chat.ChatMessage(role=chat.ROLE_USER, content=REFUSED_TEXT)), "messages"),
        (pb.GenerateRequest(text="a", sampling=pb.SamplingConfig(stop=["x"] * 17)), "sampling.stop"),
    ],
)
async def test_a_malformed_prompt_is_refused_by_its_field(serve: Serve, request_: pb.GenerateRequest, field: str):
    stub = await serve(engine := FakeEngine())
    error = await _refusal(stub.Generate(request_))
    assert isinstance(error, errors.InvalidArgument)
    assert [v.field for v in error.violations] == [field]
    assert engine.requests == []


async def test_a_refused_prompt_gives_its_place_back(serve: Serve):
    stub = await serve(FakeEngine(context_tokens=4), max_running_requests=1, max_queued_requests=0)
    for _ in range(3):
        error = await _refusal(stub.Generate(pb.GenerateRequest(text="far too many words for this")))
        assert isinstance(error, errors.ContextTooLong)
    assert [e async for e in stub.Generate(pb.GenerateRequest(text="a"))][-1].HasField("finished")
