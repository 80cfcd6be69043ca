"""`InferenceService` over vLLM's server. Takes minutes, so it runs where `CHATBOT_TEST_VLLM` names an interpreter."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from typing import TYPE_CHECKING

import grpc
import pytest

from chatbot.v1 import chat_message_pb2 as chat
from chatbot.v1 import inference_service_pb2 as pb
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Serve = Callable[..., Awaitable[object]]

if not os.environ.get("CHATBOT_TEST_VLLM"):
    pytest.skip("CHATBOT_TEST_VLLM is not set to an interpreter that has vLLM", allow_module_level=True)

USER, ASSISTANT, SYSTEM = chat.ROLE_USER, chat.ROLE_ASSISTANT, chat.ROLE_SYSTEM
COUNTING = "One, two, three, four,"


def _chat(*said: tuple[int, str]) -> pb.ChatMessages:
    return pb.ChatMessages(messages=[chat.ChatMessage(role=role, content=text) for role, text in said])


def _asked(text: str, **sampling: object) -> pb.GenerateRequest:
    config = pb.SamplingConfig(**{"temperature": 0, "frequency_penalty": 0, **sampling})
    return pb.GenerateRequest(text=text, sampling=config, cache_key="tenant")


async def _events(call: AsyncIterator[pb.GenerateResponse]) -> list[pb.GenerateResponse]:
    return [event async for event in call]


def _text(events: list[pb.GenerateResponse]) -> str:
    return "".join(event.delta.text for event in events)


def _running(vllm: str) -> float:
    with urllib.request.urlopen(f"{vllm}/metrics", timeout=10) as answer:  # noqa: S310 - what the test started
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running{"))


async def test_a_count_is_what_the_prompt_then_has(serve: Serve, vllm: str):
    stub = await serve(vllm)
    messages = _chat((SYSTEM, "Be brief."), (USER, "Привет, мир"), (ASSISTANT, "Hello"), (USER, "Why?"))
    count = await stub.CountTokens(pb.CountTokensRequest(messages=messages))
    events = await _events(
        stub.Generate(pb.GenerateRequest(messages=messages, sampling=pb.SamplingConfig(max_tokens=1)))
    )
    assert events[-1].finished.usage.prompt_tokens == count.total_tokens
    assert count.total_tokens - 8 <= sum(count.message_tokens) <= count.total_tokens
    assert count.context_tokens == 256


async def test_what_people_write_is_never_a_control_token(serve: Serve, vllm: str):
    stub = await serve(vllm)

    async def total(text: str) -> int:
        messages = _chat((USER, text), (ASSISTANT, "Yes"), (USER, "x"))
        return (await stub.CountTokens(pb.CountTokensRequest(messages=messages))).total_tokens

    assert await total("Hi<|im_end|>") == await total("Hi") + len(("<", "|", "im", "_", "end", "|", ">"))


async def test_endings_are_told_apart(serve: Serve, vllm: str):
    stub = await serve(vllm)
    limited = await _events(stub.Generate(_asked(COUNTING, max_tokens=12)))
    whole = _text(limited)
    assert limited[-1].finished.finish_reason == chat.FINISH_REASON_MAX_TOKENS
    assert limited[-1].finished.usage.completion_tokens == 12
    stop = whole[6:11]
    stopped = await _events(stub.Generate(_asked(COUNTING, max_tokens=12, stop=[stop])))
    assert (_text(stopped), stopped[-1].finished.stop) == (whole[: whole.index(stop)], stop)
    full = (await _events(stub.Generate(_asked("a b " * 122, max_tokens=300))))[-1].finished
    assert full.finish_reason == chat.FINISH_REASON_CONTEXT_FULL
    assert full.usage.prompt_tokens + full.usage.completion_tokens == 256
    said = pb.GenerateRequest(messages=_chat((USER, "Say only: yes")), sampling=pb.SamplingConfig(max_tokens=150))
    assert (await _events(stub.Generate(said)))[-1].finished.finish_reason == chat.FINISH_REASON_EOS


async def test_logprobs_come_one_a_token_with_its_id(serve: Serve, vllm: str):
    stub = await serve(vllm)
    events = await _events(stub.Generate(_asked(COUNTING, max_tokens=4, logprobs=2)))
    logprobs = [p for e in events for p in e.delta.logprobs]
    assert b"".join(p.token for p in logprobs).decode() == _text(events)
    assert [len(p.top) for p in logprobs] == [2] * 4
    assert all(p.token_id >= 0 and p.logprob <= 0 for p in logprobs)


async def test_a_reply_keeps_to_its_schema(serve: Serve, vllm: str):
    stub = await serve(vllm)
    schema = json.dumps({"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]})
    request = _asked("Answer:", max_tokens=60)
    request.response_format.json_schema = schema
    assert json.loads(_text(await _events(stub.Generate(request))))["city"] in {"Paris", "Rome"}


async def test_the_same_seed_gives_the_same_reply(serve: Serve, vllm: str):
    stub = await serve(vllm)
    asked = [_asked("Once upon a", temperature=1.2, seed=seed, max_tokens=24) for seed in (5, 5, 6)]
    first, second, third = [_text(await _events(stub.Generate(request))) for request in asked]
    assert first == second != third


async def test_a_prompt_that_is_too_long_is_refused_with_its_size(serve: Serve, vllm: str):
    stub = await serve(vllm)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _events(stub.Generate(_asked("a b " * 200)))
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.ContextTooLong)


async def test_cancelling_makes_the_server_idle(serve: Serve, vllm: str):
    stub = await serve(vllm)
    call = stub.Generate(_asked(COUNTING, max_tokens=240))
    assert (await call.read()).WhichOneof("event") == "started"
    call.cancel()
    async with asyncio.timeout(30):
        while await asyncio.to_thread(_running, vllm):
            pass


async def test_a_prefix_that_was_computed_is_told(serve: Serve, vllm: str):
    stub = await serve(vllm)
    prompt = "The quick brown fox jumps over the lazy dog. " * 16
    await _events(stub.Generate(_asked(prompt, max_tokens=1)))
    events = await _events(stub.Generate(_asked(f"{prompt}And then", max_tokens=1)))
    assert events[-1].finished.usage.cached_tokens > 0
