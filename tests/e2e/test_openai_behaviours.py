"""What the tests of llama.cpp's server and of vLLM check of chat completions, asked of this door and the real model.

Where they contradict each other, or the answer here is another on purpose, docs/openai-api.md says so; what contract
tests check word for word with a scripted model is not repeated.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.stack import Stack

PATH = "/v1/chat/completions"
SEA = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "What is the sea?"}]


@pytest.fixture
async def http(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    address = f"http://127.0.0.1:{stack.http_port}"
    headers = {"x-user-id": request.node.name}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture
async def client(http: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=str(http.base_url.join("/v1")), api_key="none", default_headers=http.headers
    ) as client:
        yield client


async def ask(http: httpx.AsyncClient, **fields: object) -> dict[str, Any]:
    answer = await http.post(PATH, json={"messages": SEA, "temperature": 0, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def chunks_of(http: httpx.AsyncClient, **fields: object) -> list[dict[str, Any]]:
    answer = await http.post(PATH, json={"messages": SEA, "temperature": 0, **fields, "stream": True})
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_reply_has_as_many_tokens_as_it_is_cut_at_and_its_stream_tells_the_same(
    http: httpx.AsyncClient, name: str
):
    asked = {name: 8}
    whole = await ask(http, **asked)
    (choice,) = whole["choices"]
    assert (choice["finish_reason"], choice["message"]["role"], choice["index"]) == ("length", "assistant", 0)
    usage = whole["usage"]
    assert usage["completion_tokens"] == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8
    assert "cmpl" in whole["id"]
    chunks = await chunks_of(http, **asked, stream_options={"include_usage": True})
    last = chunks.pop()
    assert [last["usage"][count] for count in ("prompt_tokens", "completion_tokens")] == [usage["prompt_tokens"], 8]
    streamed = [chunk["choices"][0] for chunk in chunks]
    assert "".join(c["delta"].get("content") or "" for c in streamed) == choice["message"]["content"]
    assert [c["finish_reason"] for c in streamed if c["finish_reason"]] == ["length"]


async def test_text_in_parts_and_fields_nobody_knows_make_the_prompt_no_other(http: httpx.AsyncClient):
    question = SEA[1]["content"]
    plain, parts, extra = [
        await ask(http, max_tokens=12, messages=[SEA[0], message])
        for message in (
            SEA[1],
            {"role": "user", "content": [{"type": "text", "text": question}]},
            {**SEA[1], "extra_field": "0"},
        )
    ]
    assert plain["choices"] == parts["choices"] == extra["choices"]
    assert plain["usage"]["prompt_tokens"] == parts["usage"]["prompt_tokens"] == extra["usage"]["prompt_tokens"]


async def test_a_conversation_goes_on_with_its_own_replies(client: openai.AsyncOpenAI):
    messages: list[Any] = list(SEA)
    sizes = []
    for question in ("And a lake?", "And a river?", None):
        reply = await client.chat.completions.create(model="any", messages=messages, max_completion_tokens=5)
        sizes.append(reply.usage.prompt_tokens)
        messages += [
            {"role": "assistant", "content": reply.choices[0].message.content},
            {"role": "user", "content": question},
        ]
    assert sizes == sorted(set(sizes))


class TestLogprobs:
    async def test_are_told_of_no_token_unless_asked_for(self, http: httpx.AsyncClient):
        for asked in ({}, {"logprobs": False}, {"logprobs": None}):
            assert (await ask(http, max_tokens=5, **asked))["choices"][0]["logprobs"] is None

    async def test_have_exactly_as_many_alternatives_as_were_asked_for(self, http: httpx.AsyncClient):
        for count in (0, 1, 5, 20):
            told = (await ask(http, max_tokens=5, logprobs=True, top_logprobs=count))["choices"][0]["logprobs"]
            assert [len(token["top_logprobs"]) for token in told["content"]] == [count] * 5

    async def test_over_the_most_are_refused_whole_and_streamed_and_the_next_request_is_answered(
        self, http: httpx.AsyncClient
    ):
        for streamed, count in ((True, 21), (False, 30)):
            asked = {"messages": SEA, "logprobs": True, "top_logprobs": count, "stream": streamed}
            refused = await http.post(PATH, json=asked)
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == "top_logprobs"
        assert (await ask(http, max_tokens=5))["choices"][0]["message"]["content"]

    async def test_of_a_stream_come_with_the_text_of_their_tokens_and_no_character_is_torn(
        self, http: httpx.AsyncClient
    ):
        # Most of these characters are several tokens of this model.
        messages = [{"role": "user", "content": "Repeat: Привет, мир! 🐈 🏳️‍🌈"}]
        chunks = await chunks_of(http, messages=messages, max_tokens=40, logprobs=True, top_logprobs=2)
        spoken = [chunk["choices"][0] for chunk in chunks[1:-1]]
        assert all(choice["logprobs"]["content"] for choice in spoken)
        text = "".join(choice["delta"]["content"] for choice in spoken)
        tokens = [token for choice in spoken for token in choice["logprobs"]["content"]]
        assert b"".join(bytes(token["bytes"]) for token in tokens).decode(errors="replace").startswith(text)
        assert all(token["logprob"] <= 0 for token in tokens)

    async def test_of_a_reply_that_keeps_to_a_schema_are_numbers(self, http: httpx.AsyncClient):
        form = {"type": "json_object", "schema": {"enum": ["Python", "Rust", "Java"]}}
        told = await ask(http, max_tokens=10, logprobs=True, top_logprobs=5, response_format=form)
        assert json.loads(told["choices"][0]["message"]["content"]) in form["schema"]["enum"]
        for token in told["choices"][0]["logprobs"]["content"]:
            assert all(math.isfinite(top["logprob"]) for top in (token, *token["top_logprobs"]))


class TestForms:
    @pytest.mark.parametrize(
        "asked",
        [
            {"response_format": {"type": "json_object", "schema": {"const": "42"}}},
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": "42"}}}},
            {"json_schema": {"const": "42"}},
            {"structured_outputs": {"json": {"const": "42"}}},
        ],
    )
    async def test_are_kept_to_under_each_name_that_clients_give_them(self, http: httpx.AsyncClient, asked: dict):
        assert (await ask(http, max_tokens=10, **asked))["choices"][0]["message"]["content"] == '"42"'

    async def test_make_an_object_of_any_reply(self, http: httpx.AsyncClient):
        messages = [{"role": "user", "content": 'What is 1 + 1? Answer as JSON: {"result": 2}'}]
        reply = await ask(http, messages=messages, max_tokens=200, response_format={"type": "json_object"})
        assert isinstance(json.loads(reply["choices"][0]["message"]["content"]), dict)

    async def test_have_fields_of_the_types_that_were_asked_for_in_turn_after_turn(self, http: httpx.AsyncClient):
        schema = {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 120}},
            "required": ["name", "age"],
            "additionalProperties": False,
        }
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
        messages = [{"role": "user", "content": "Invent a person."}]
        for _ in range(2):
            reply = await ask(http, messages=messages, max_tokens=100, response_format=form)
            content = reply["choices"][0]["message"]["content"]
            person = json.loads(content)
            assert set(person) == {"name", "age"}
            assert isinstance(person["name"], str)
            assert isinstance(person["age"], int)
            messages += [{"role": "assistant", "content": content}, {"role": "user", "content": "Another one."}]

    async def test_of_text_ask_for_nothing(self, http: httpx.AsyncClient):
        plain = await ask(http, max_tokens=10)
        assert (await ask(http, max_tokens=10, response_format={"type": "text"}))["choices"] == plain["choices"]

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        "asked",
        [
            {"response_format": {"type": "sound"}},
            {"response_format": {"type": "json_object", "schema": 123}},
            {"response_format": {"type": "json_object", "schema": {"type": 123}}},
            {"response_format": {"type": "json_object", "schema": {"type": "hiccup"}}},
            {"structured_outputs": {"regex": {"1": "Python"}}},
            {"structured_outputs": {"choice": ["Python", "Rust"]}},
            {"grammar": 'root ::= "a"'},
        ],
    )
    async def test_that_are_none_or_cannot_be_kept_to_are_refused(
        self, http: httpx.AsyncClient, asked: dict, streamed: bool
    ):
        refused = await http.post(PATH, json={"messages": SEA, "max_tokens": 5, "stream": streamed, **asked})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"].split(".")[0] in asked


class TestSeveralReplies:
    async def test_differ_and_each_has_its_place(self, client: openai.AsyncOpenAI):
        reply = await client.chat.completions.create(
            model="any", messages=SEA, n=5, seed=1, temperature=1.5, max_tokens=12
        )
        assert [choice.index for choice in reply.choices] == [0, 1, 2, 3, 4]
        assert len({choice.message.content for choice in reply.choices}) > 1
        assert {choice.finish_reason for choice in reply.choices} <= {"stop", "length"}

    async def test_stream_what_they_say_whole(self, client: openai.AsyncOpenAI):
        asked: dict[str, Any] = {
            "model": "any", "messages": SEA, "n": 3, "seed": 42, "temperature": 1.2, "max_tokens": 12,
        }  # fmt: skip
        whole = await client.chat.completions.create(**asked)
        streamed: defaultdict[int, str] = defaultdict(str)
        async for chunk in await client.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                streamed[choice.index] += choice.delta.content or ""
        assert dict(streamed) == {choice.index: choice.message.content for choice in whole.choices}


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_prompt_over_the_context_is_told_with_how_long_it_is_and_may_be(
    http: httpx.AsyncClient, streamed: bool
):
    refused = await http.post(PATH, json={"messages": SEA * 2000, "stream": streamed})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("exceed_context_size_error", "context_length_exceeded")
    assert error["n_prompt_tokens"] > error["n_ctx"] == 8192


@pytest.mark.parametrize(("seed", "bound"), [(-(2**63) - 1, "greater_than_equal"), (2**63, "less_than_equal")])
async def test_a_seed_of_more_than_64_bits_is_refused_with_the_bound(http: httpx.AsyncClient, seed: int, bound: str):
    refused = await http.post(PATH, json={"messages": SEA, "seed": seed})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "seed"
    assert bound in refused.text


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt_logprobs": 1},
        {"prompt_logprobs": -1},
        {"continue_final_message": True},
        {"logit_bias": {"17": -100}},
    ],
)
async def test_what_other_servers_can_and_this_one_cannot_is_refused_by_its_name(http: httpx.AsyncClient, asked: dict):
    refused = await http.post(PATH, json={"messages": SEA, **asked})
    assert refused.status_code == 400
    assert [refused.json()["error"]["param"]] == list(asked)
