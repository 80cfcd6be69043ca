"""`InferenceService` over llama.cpp's own server."""

from __future__ import annotations

import asyncio
import json
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

USER, ASSISTANT, SYSTEM = chat.ROLE_USER, chat.ROLE_ASSISTANT, chat.ROLE_SYSTEM
COUNTING = "One, two, three, four,"


def _chat(*said: tuple[int, str]) -> pb.ChatMessages:
    return pb.ChatMessages(messages=[chat.ChatMessage(role=role, content=text) for role, text in said])


def _asked(text: str, **sampling: object) -> pb.GenerateRequest:
    return pb.GenerateRequest(text=text, sampling=pb.SamplingConfig(**{"temperature": 0, **sampling}))


async def _events(call: AsyncIterator[pb.GenerateResponse]) -> list[pb.GenerateResponse]:
    return [event async for event in call]


def _text(events: list[pb.GenerateResponse]) -> str:
    return "".join(event.delta.text for event in events)


def _server(llama_cpp: str, path: str, body: dict[str, object] | None = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{llama_cpp}{path}", data, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the server that the test started
        return json.load(answer)


async def _until_idle(llama_cpp: str) -> None:
    async with asyncio.timeout(30):
        while any(slot["is_processing"] for slot in await asyncio.to_thread(_server, llama_cpp, "/slots")):
            pass


async def test_the_model_is_described_as_the_server_does(serve: Serve, llama_cpp: str):
    model = (await (await serve(llama_cpp)).GetModel(pb.GetModelRequest())).model
    assert model.id == "SmolLM2-135M-Instruct.Q4_1"
    assert model.weights == "Q4_1"
    assert model.device == "remote"
    assert model.context_tokens == 256
    assert model.parameters == 134515008
    assert list(model.languages) == ["en"]


async def test_a_reply_is_what_the_server_says_when_asked_itself(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    said = ((SYSTEM, "You answer in one word."), (USER, "What is the capital of France?"))
    config = pb.SamplingConfig(temperature=0, max_tokens=16, frequency_penalty=0)
    events = await _events(stub.Generate(pb.GenerateRequest(messages=_chat(*said), sampling=config)))
    itself = await asyncio.to_thread(
        _server,
        llama_cpp,
        "/v1/chat/completions",
        {
            "messages": [{"role": "system", "content": said[0][1]}, {"role": "user", "content": said[1][1]}],
            "temperature": 0,
            "max_tokens": 16,
        },
    )
    finished = events[-1].finished
    assert [e.WhichOneof("event") for e in (events[0], events[-1])] == ["started", "finished"]
    assert _text(events) == itself["choices"][0]["message"]["content"]
    assert finished.usage.prompt_tokens == events[0].started.prompt_tokens == itself["usage"]["prompt_tokens"]
    assert finished.usage.completion_tokens == itself["usage"]["completion_tokens"]
    assert finished.timings.tokens_per_second > 0


async def test_a_count_is_what_the_prompt_then_has(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    messages = _chat((SYSTEM, "Be brief."), (USER, "Привет, мир"), (ASSISTANT, "Hello"), (USER, "Why?"))
    count = await stub.CountTokens(pb.CountTokensRequest(messages=messages))
    events = await _events(
        stub.Generate(pb.GenerateRequest(messages=messages, sampling=pb.SamplingConfig(max_tokens=1)))
    )
    assert events[-1].finished.usage.prompt_tokens == count.total_tokens
    assert len(count.message_tokens) == 4
    assert min(count.message_tokens) > 1
    assert count.total_tokens - 8 <= sum(count.message_tokens) <= count.total_tokens
    assert count.context_tokens == 256
    assert (await stub.CountTokens(pb.CountTokensRequest(text=COUNTING))).total_tokens == 8


async def test_what_people_write_is_never_a_control_token(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)

    async def total(text: str) -> int:
        messages = _chat((USER, text), (ASSISTANT, "Yes"), (USER, "x"))
        return (await stub.CountTokens(pb.CountTokensRequest(messages=messages))).total_tokens

    answer = await asyncio.to_thread(
        _server, llama_cpp, "/tokenize", {"content": "Hi<|im_end|>", "parse_special": False}
    )
    assert await total("Hi<|im_end|>") - await total("Hi") == len(answer["tokens"]) - 1


async def test_tokens_are_taken_as_they_are(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    tokens = (await asyncio.to_thread(_server, llama_cpp, "/tokenize", {"content": COUNTING}))["tokens"]
    config = pb.SamplingConfig(temperature=0, max_tokens=6)
    by_tokens = await _events(stub.Generate(pb.GenerateRequest(token_ids=pb.TokenIds(ids=tokens), sampling=config)))
    by_text = await _events(stub.Generate(pb.GenerateRequest(text=COUNTING, sampling=config)))
    assert _text(by_tokens) == _text(by_text) != ""
    assert by_tokens[-1].finished.usage.prompt_tokens == len(tokens)


async def test_a_stop_string_is_told_from_the_models_own_end(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    whole = _text(await _events(stub.Generate(_asked(COUNTING, max_tokens=12))))
    stop = whole[6:11]
    stopped = await _events(stub.Generate(_asked(COUNTING, max_tokens=12, stop=["never said", stop])))
    assert _text(stopped) == whole[: whole.index(stop)]
    assert stopped[-1].finished.finish_reason == chat.FINISH_REASON_STOP_STRING
    assert stopped[-1].finished.stop == stop
    ended = await _events(
        stub.Generate(
            pb.GenerateRequest(
                messages=_chat((USER, "Say only: yes")),
                sampling=pb.SamplingConfig(temperature=0, stop=["never said"], max_tokens=200),
            )
        )
    )
    assert ended[-1].finished.finish_reason == chat.FINISH_REASON_EOS
    await _until_idle(llama_cpp)


async def test_max_tokens_and_a_full_context_are_told_apart(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    limited = (await _events(stub.Generate(_asked(COUNTING, max_tokens=3))))[-1].finished
    assert limited.finish_reason == chat.FINISH_REASON_MAX_TOKENS
    assert limited.usage.completion_tokens == 3
    full = (await _events(stub.Generate(_asked("a b " * 122, max_tokens=300))))[-1].finished
    assert full.finish_reason == chat.FINISH_REASON_CONTEXT_FULL
    assert full.usage.prompt_tokens + full.usage.completion_tokens == 256


async def test_a_prompt_that_is_too_long_is_refused_with_its_size(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _events(stub.Generate(_asked("a b " * 200)))
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.ContextTooLong)
    assert error.metadata["n_context"] == "256"


async def test_the_same_seed_gives_the_same_reply_and_another_one_another(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)

    async def reply(seed: int) -> str:
        return _text(await _events(stub.Generate(_asked("Once upon a", temperature=1.5, seed=seed, max_tokens=24))))

    assert await reply(2**63) == await reply(2**63) != await reply(2**63 + 1)


async def test_logprobs_come_one_a_token_with_ids_and_alternatives(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    events = await _events(stub.Generate(_asked(COUNTING, max_tokens=4, logprobs=2)))
    logprobs = [p for e in events for p in e.delta.logprobs]
    assert b"".join(p.token for p in logprobs).decode() == _text(events)
    assert len(logprobs) == 4
    for p in logprobs:
        assert [len(p.top), p.top[0].token_id] == [2, p.token_id]
        assert p.logprob <= 0


async def test_a_reply_keeps_to_its_schema(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    schema = json.dumps({"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]})
    request = _asked("Answer:", max_tokens=60)
    request.response_format.json_schema = schema
    assert json.loads(_text(await _events(stub.Generate(request))))["city"] in {"Paris", "Rome"}


async def test_the_second_turn_tells_what_was_cached(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    prompt = "The quick brown fox jumps over the lazy dog. " * 8
    await _events(stub.Generate(_asked(prompt, max_tokens=1)))
    events = await _events(stub.Generate(_asked(f"{prompt}And then", max_tokens=1)))
    cached = events[0].started.cached_tokens
    assert cached > 40
    assert events[-1].finished.usage.cached_tokens == cached


async def test_whole_characters_only_are_delivered(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    events = await _events(stub.Generate(_asked("日本語、中文、русский, 日本", max_tokens=40)))
    assert _text(events)
    assert "\ufffd" not in _text(events)


async def test_cancelling_makes_the_server_idle(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    call = stub.Generate(_asked(COUNTING, max_tokens=200))
    assert (await call.read()).WhichOneof("event") == "started"
    slots = await asyncio.to_thread(_server, llama_cpp, "/slots")
    assert any(slot["is_processing"] for slot in slots)
    load = await stub.GetLoad(pb.GetLoadRequest())
    assert (load.running_requests, load.kv_tokens_used > 8) == (1, True)
    call.cancel()
    await _until_idle(llama_cpp)
    async with asyncio.timeout(10):
        while (await stub.GetLoad(pb.GetLoadRequest())).running_requests:
            pass


async def test_several_replies_at_once_are_never_mixed(serve: Serve, llama_cpp: str):
    stub = await serve(llama_cpp)
    prompts = [COUNTING, "Monday, Tuesday,", "A, B, C,", "January, February,"]
    alone = [_text(await _events(stub.Generate(_asked(p, max_tokens=4)))) for p in prompts]
    together = await asyncio.gather(*(_events(stub.Generate(_asked(p, max_tokens=4))) for p in prompts))
    assert [_text(events) for events in together] == alone
