"""`POST /v1/chat/completions`, word for word on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import structlog.testing

from chatbot.v1 import memory_service_pb2 as memory_pb
from services.inference.engine.fake import REFUSED_TEXT, FakeEngine
from tests.contract.gateway.house import House

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
Stream = Callable[..., Awaitable[tuple[list[dict[str, Any]], bool]]]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["Hello", " there", ", мир", "."], context_tokens=120)


async def ask(http: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await http.post(PATH, json={"messages": HI, **fields})


async def test_a_whole_reply_has_the_shape_that_clients_read(http: httpx.AsyncClient):
    answer = (await ask(http, model="any-name")).json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "fake"
    assert answer["system_fingerprint"].startswith("b")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello there, мир.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert "conversation" not in answer


async def test_a_stream_carries_the_role_first_one_id_and_one_finish_reason(stream: Stream):
    chunks, done = await stream(PATH, {"messages": HI})
    assert done
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["system_fingerprint"]) for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": None}
    assert [c["finish_reason"] for c in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert choices[-1]["delta"] == {}
    assert "".join(c["delta"]["content"] for c in choices[1:-1]) == "Hello there, мир."
    assert all("usage" not in chunk for chunk in chunks)


async def test_usage_comes_last_and_alone_where_it_was_asked_for(stream: Stream):
    chunks, done = await stream(PATH, {"messages": HI, "stream_options": {"include_usage": True}})
    assert done
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 7


async def test_timings_come_at_the_end_where_they_were_asked_for(http: httpx.AsyncClient, stream: Stream):
    body = {"messages": HI, "timings_per_token": True, "stream_options": {"include_usage": True}}
    chunks, _ = await stream(PATH, body)
    assert all("timings" not in chunk for chunk in chunks[:-1])
    told = chunks[-1]["timings"]
    assert (told["prompt_n"], told["cache_n"], told["predicted_n"]) == (3, 0, 4)
    assert (await ask(http, timings_per_token=True)).json()["timings"]["predicted_n"] == 4


@pytest.mark.parametrize("options", [{}, {"include_usage": None}, {"include_usage": True}])
async def test_options_of_a_stream_are_refused_without_a_stream(http: httpx.AsyncClient, options: dict):
    answer = await ask(http, stream_options=options)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "stream_options"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_cut_reply_says_so_under_either_name_of_the_limit(http: httpx.AsyncClient, name: str):
    choice = (await ask(http, **{name: 2})).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello there", "length")


async def test_both_names_of_the_limit_must_agree(http: httpx.AsyncClient):
    assert (await ask(http, max_tokens=2, max_completion_tokens=2)).status_code == 200
    assert (await ask(http, max_tokens=2, max_completion_tokens=3)).status_code == 400


@pytest.mark.parametrize("stop", [" мир", ["nothing", ", мир"]])
async def test_stop_strings_are_one_or_a_list(http: httpx.AsyncClient, stop: object):
    choice = (await ask(http, stop=stop)).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "Hello there" + ("," if stop == " мир" else "")


async def test_sampling_reaches_the_model(house: House, http: httpx.AsyncClient):
    await ask(
        http, temperature=0.5, top_p=0.9, top_k=-1, min_p=0.1, repetition_penalty=1.1, frequency_penalty=0.2,
        presence_penalty=-0.3, seed=-1,
    )  # fmt: skip
    sampling = house.engine.requests[-1].sampling
    assert sampling.temperature == 0.5
    assert sampling.top_p == pytest.approx(0.9)
    assert sampling.top_k == 0
    assert sampling.min_p == pytest.approx(0.1)
    assert sampling.repetition_penalty == pytest.approx(1.1)
    assert sampling.frequency_penalty == pytest.approx(0.2)
    assert sampling.presence_penalty == pytest.approx(-0.3)
    assert sampling.seed == 2**64 - 1
    await ask(http, top_p=0)
    assert house.engine.requests[-1].sampling.top_k == 1


async def test_several_replies_have_a_seed_each_and_their_own_places(house: House, http: httpx.AsyncClient):
    answer = (await ask(http, n=3, seed=7)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert sorted(request.sampling.seed for request in house.engine.requests) == [7, 8, 9]
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 12


async def test_several_replies_stream_side_by_side(stream: Stream):
    chunks, done = await stream(PATH, {"messages": HI, "n": 2, "stream_options": {"include_usage": True}})
    assert done
    for place in (0, 1):
        own = [c for chunk in chunks for c in chunk["choices"] if c["index"] == place]
        assert own[0]["delta"]["role"] == "assistant"
        assert "".join(c["delta"].get("content") or "" for c in own) == "Hello there, мир."
        assert [c["finish_reason"] for c in own if c["finish_reason"]] == ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] == 8


async def test_logprobs_tell_each_token_its_bytes_and_the_alternatives(http: httpx.AsyncClient, stream: Stream):
    asked = {"messages": HI, "logprobs": True, "top_logprobs": 2}
    whole = (await http.post(PATH, json=asked)).json()["choices"][0]
    tokens = whole["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == whole["message"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == whole["message"]["content"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)
    chunks, _ = await stream(PATH, asked)
    streamed = [c["choices"][0]["logprobs"] for c in chunks[1:-1]]
    assert [token for part in streamed for token in part["content"]] == tokens
    none = (await ask(http, logprobs=True)).json()["choices"][0]["logprobs"]["content"]
    assert all(token["top_logprobs"] == [] for token in none)


async def test_a_schema_reaches_the_model(house: House, http: httpx.AsyncClient):
    schema = {"type": "object", "properties": {"a": {"const": "я"}}}
    for form in (
        {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}},
        {"type": "json_object", "schema": schema},
    ):
        assert (await ask(http, response_format=form)).status_code == 200
        assert json.loads(house.engine.requests[-1].json_schema) == schema
    assert (await ask(http, response_format={"type": "json_object"})).status_code == 200
    assert json.loads(house.engine.requests[-1].json_schema) == {"type": "object"}
    assert (await ask(http, json_schema=schema)).status_code == 200
    assert json.loads(house.engine.requests[-1].json_schema) == schema
    assert (await ask(http, response_format={"type": "text"})).status_code == 200
    assert house.engine.requests[-1].json_schema is None


async def test_system_messages_go_first_together_and_messages_in_a_row_are_joined(
    house: House, http: httpx.AsyncClient
):
    messages = [
        {"role": "system", "content": "One."},
        {"role": "user", "content": [{"type": "text", "text": "Two."}, {"type": "text", "text": "Three."}]},
        {"role": "developer", "content": "Four."},
        {"role": "user", "content": "Five."},
        {"role": "assistant", "content": "Six."},
        {"role": "user", "content": "Seven.", "unknown": 1},
    ]
    assert (await ask(http, messages=messages)).status_code == 200
    assert house.prompt() == (
        "\n<system>One.\n\nFour.\n<user>Two.\nThree.\n\nFive.\n<assistant>Six.\n<user>Seven.\n<assistant>"
    )


PASSES: list[dict[str, Any]] = [
    {"tools": []},
    {"tools": None},
    {"tools": [{"type": "function"}], "tool_choice": "none"},
    {"logit_bias": {}},
    {"modalities": ["text"]},
    {"max_tokens": None, "temperature": None, "stop": None, "n": None, "seed": None, "response_format": None},
    {"user": "x", "metadata": {"a": "b"}, "store": False, "reasoning_effort": "low", "anything": {"else": 1}},
    {"stream": False, "model": None},
    {"prompt_cache_key": "k"},
    {"grammar": None, "structured_outputs": {}, "prompt_logprobs": None, "continue_final_message": False},
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": "string"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [123]}, "messages[0]"),
    ({"messages": [{}]}, "messages[0].role"),
    ({"messages": [{"role": 123}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "system", "content": 123}]}, "messages[0].content"),
    ({"messages": [*HI, {}]}, "messages[1].role"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages"),
    ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content"),
    ({"messages": [*HI, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "my-role", "content": "a"}]}, "messages[0].role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        "messages[0].content[0].type",
    ),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": "0.5"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 5.1}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_p": []}, "top_p"),
    ({"frequency_penalty": 2.5}, "frequency_penalty"),
    ({"presence_penalty": -2.5}, "presence_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"seed": 2**63}, "seed"),
    ({"seed": "x"}, "seed"),
    ({"stop": ""}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 1}, "top_logprobs"),
    ({"response_format": {"type": "sound"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_object", "schema": 123}}, "response_format.schema"),
    ({"response_format": {"type": "json_object", "schema": {"x": REFUSED_TEXT}}}, "response_format.json_schema"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"logit_bias": {"1": 5}}, "logit_bias"),
    ({"grammar": 'root ::= "a"'}, "grammar"),
    ({"structured_outputs": {"choice": ["a"]}}, "structured_outputs.choice"),
    ({"structured_outputs": {"json": {"x": REFUSED_TEXT}}}, "response_format.json_schema"),
    ({"prompt_logprobs": 0}, "prompt_logprobs"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"stream": "yes"}, "stream"),
]


async def test_what_asks_for_nothing_and_what_is_unknown_passes(http: httpx.AsyncClient):
    statuses = [(await ask(http, **fields)).status_code for fields in PASSES]
    assert statuses == [200] * len(PASSES)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_cannot_be_done_is_refused_naming_the_parameter(
    house: House, http: httpx.AsyncClient, streamed: bool
):
    told = []
    for fields, _ in REFUSED:
        answer = await ask(http, **({"stream": streamed} | fields))
        error = answer.json()["error"]
        assert error["message"]
        assert error["code"]
        told.append((fields, answer.status_code, error["type"], error["param"]))
    assert told == [(fields, 400, "invalid_request_error", param) for fields, param in REFUSED]
    assert house.engine.load().running == 0


async def test_what_is_no_json_object_is_refused(http: httpx.AsyncClient):
    for body in (b"", b"{", b"[]", b"nonsense", b'"\xff"', b'{"messages": "\\ud800"}'):
        answer = await http.post(PATH, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert "nonsense" not in answer.text


async def test_a_body_of_another_type_is_refused(http: httpx.AsyncClient):
    answer = await http.post(PATH, content=json.dumps({"messages": HI}), headers={"content-type": "text/plain"})
    assert answer.status_code == 415


async def test_a_body_larger_than_any_request_is_refused(http: httpx.AsyncClient):
    answer = await ask(http, padding="x" * (17 * 1024 * 1024))
    assert answer.status_code == 413


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_prompt_over_the_context_is_refused_before_a_stream_with_the_counts(
    house: House, http: httpx.AsyncClient, streamed: bool
):
    answer = await ask(http, messages=[{"role": "user", "content": "word " * 300}], stream=streamed)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["n_prompt_tokens"] > 300
    assert error["n_ctx"] == 120
    assert "120" in error["message"]
    assert house.engine.requests == []


async def test_a_model_that_is_not_there_is_a_503_with_the_time_to_wait(house: House, http: httpx.AsyncClient):
    await house.servers["inference"].stop(0)
    for streamed in (False, True):
        answer = await ask(http, stream=streamed)
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "server_error"
        assert int(answer.headers["retry-after"]) >= 1


class TestAnEngineThatDies:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two"], die_after=1)

    async def test_ends_a_stream_with_an_error_and_no_done(self, stream: Stream):
        events, done = await stream(PATH, {"messages": HI})
        assert not done
        assert events[1]["choices"][0]["delta"]["content"] == "one"
        assert events[-1]["error"]["code"] == "engine_lost"
        assert all(c["finish_reason"] is None for event in events[:-1] for c in event["choices"])

    async def test_is_a_503_where_nothing_was_sent(self, http: httpx.AsyncClient):
        answer = await ask(http)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "engine_lost"


class TestAClientThatGoesAway:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two", " three"], pause_after=2)

    async def test_frees_the_model_in_mid_stream(self, house: House, http: httpx.AsyncClient):
        async with http.stream("POST", PATH, json={"messages": HI, "n": 2, "stream": True}) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if " two" in line:
                    break
            assert house.engine.load().running == 2
        await idle(house.engine)

    async def test_frees_the_model_before_a_whole_reply(self, house: House, http: httpx.AsyncClient):
        asking = asyncio.create_task(ask(http))
        while house.engine.load().running == 0:
            await asyncio.sleep(0.001)
        asking.cancel()
        await idle(house.engine)


class TestAModelThatIsBusy:
    @pytest.fixture
    def engine(self, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
        monkeypatch.setenv("CHATBOT_MAX_RUNNING_REQUESTS", "1")
        monkeypatch.setenv("CHATBOT_MAX_QUEUED_REQUESTS", "0")
        return FakeEngine(["one", " two"], pause_after=1)

    async def test_refuses_with_the_time_to_wait(self, house: House, http: httpx.AsyncClient):
        first = asyncio.create_task(ask(http))
        while house.engine.load().running == 0:
            await asyncio.sleep(0.001)
        for streamed in (False, True):
            refused = await ask(http, stream=streamed)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "overloaded"
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert int(refused.headers["retry-after"]) >= 1
        house.engine.resume.set()
        assert (await first).status_code == 200


class TestAGatewayThatStops:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two"], pause_after=1)

    async def test_finishes_its_streams_and_takes_no_more(self, house: House, http: httpx.AsyncClient):
        async with http.stream("POST", PATH, json={"messages": HI, "stream": True}) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if '"one"' in line:
                    break
            stopping = asyncio.create_task(house.servers["gateway"].stop(20))
            async with asyncio.timeout(20):
                while True:
                    try:
                        async with httpx.AsyncClient(base_url=house.http_address) as other:
                            await other.get("/health/live")
                    except httpx.TransportError:
                        break
            house.engine.resume.set()
            rest = [line async for line in lines]
        assert "data: [DONE]" in rest
        await stopping

    async def test_keeps_what_a_turn_has_said_when_its_time_is_up(self, house: House, http: httpx.AsyncClient):
        body = {"messages": HI, "stream": True, "conversation": "new"}
        async with http.stream("POST", PATH, json=body) as answer:
            lines = answer.aiter_lines()  # kept: where it is collected, the stream is closed
            async for line in lines:
                if '"one"' in line:
                    name = json.loads(line.removeprefix("data: "))["conversation"]
                    break
            await house.servers["gateway"].stop(0)
        listed = await house.memory.ListMessages(memory_pb.ListMessagesRequest(user_id="local", conversation=name))
        assert [message.content for message in listed.messages] == ["Hi", "one"]


async def test_log_lines_hold_no_text_and_no_path_that_was_made_up(http: httpx.AsyncClient):
    with structlog.testing.capture_logs() as logs:
        await ask(http, messages=[{"role": "user", "content": "my secret"}])
        await ask(http, stream=True, messages=[{"role": "user", "content": "my secret"}])
        await ask(http, temperature="my secret")
        await http.get("/my secret", headers={"authorization": "Bearer my secret"})
        await http.get("/health")
    calls = [
        (entry["method"], entry["outcome"]) for entry in logs if entry["event"] == "call" and " " in entry["method"]
    ]
    assert calls == [
        (f"POST {PATH}", "OK"),
        (f"POST {PATH}", "OK"),
        (f"POST {PATH}", "INVALID_ARGUMENT"),
        ("GET none", "HTTP_404"),
    ]
    assert "secret" not in str(logs)


async def idle(engine: FakeEngine) -> None:
    async with asyncio.timeout(20):
        while engine.load().running:
            await asyncio.sleep(0.001)
