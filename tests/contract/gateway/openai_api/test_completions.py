"""`POST /v1/completions` and `POST /v1/embeddings` on the wire."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from services.inference.engine.fake import FakeEngine
from tests.contract.gateway.house import House

Stream = Callable[..., Awaitable[tuple[list[dict[str, Any]], bool]]]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["Hello", " there", "."], context_tokens=50)


async def ask(http: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await http.post("/v1/completions", json={"prompt": "Once upon", **fields})


async def test_a_text_goes_on_without_a_chat_template(house: House, http: httpx.AsyncClient):
    answer = (await ask(http)).json()
    assert (answer["object"], answer["model"]) == ("text_completion", "fake")
    assert answer["choices"] == [{"index": 0, "text": "Hello there.", "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"]["total_tokens"] == 5
    assert house.prompt() == "Once upon"
    assert house.engine.requests[-1].sampling.max_tokens == 16


async def test_several_prompts_have_their_replies_in_order(house: House, http: httpx.AsyncClient):
    answer = (await ask(http, prompt=["One", "Two three"], n=2, max_tokens=1)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 4


async def test_a_prompt_may_be_the_models_own_tokens(house: House, http: httpx.AsyncClient):
    assert (await ask(http, prompt=[5, 6, 7])).status_code == 200
    assert house.engine.requests[-1].prompt == (5, 6, 7)
    assert (await ask(http, prompt=[[5], [6]])).status_code == 200
    assert [request.prompt for request in house.engine.requests[-2:]] == [(5,), (6,)]


async def test_a_stream_ends_with_a_reason_usage_and_done(stream: Stream):
    chunks, done = await stream("/v1/completions", {"prompt": "Hi", "stream_options": {"include_usage": True}})
    assert done
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == "Hello there."
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 1


async def test_logprobs_come_in_lists_of_one_length(http: httpx.AsyncClient):
    told = (await ask(http, logprobs=1)).json()["choices"][0]["logprobs"]
    assert told["tokens"] == ["Hello", " there", "."]
    assert told["text_offset"] == [0, 5, 11]
    assert len(told["token_logprobs"]) == len(told["top_logprobs"]) == 3


async def test_what_a_completion_cannot_do_is_refused(house: House, http: httpx.AsyncClient):
    refused = {
        "prompt": [None, "", [], [""], [1, "a"], [[]], {"a": 1}, [-1], "a\0b"],
        "echo": [True],
        "suffix": ["end"],
        "best_of": [3],
        "max_tokens": [0, -1, "3"],
        "logprobs": [True, 21, -1],
        "n": [0, 17],
        "stream_options": [{"include_usage": True}],
    }
    wrong = []
    for name, values in refused.items():
        for value in values:
            answer = await ask(http, **{name: value})
            param = answer.json().get("error", {}).get("param") or ""
            if answer.status_code != 400 or not param.startswith(name):
                wrong.append((name, value, answer.status_code, param))
    assert wrong == []
    assert house.engine.requests == []


@pytest.mark.parametrize("prompt", ["word " * 60, [1] * 60])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_prompt_over_the_context_is_refused(http: httpx.AsyncClient, prompt: object, streamed: bool):
    answer = await ask(http, prompt=prompt, stream=streamed)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


async def test_embeddings_come_in_the_order_of_the_texts(http: httpx.AsyncClient):
    texts = [f"text {number}" for number in range(100)]
    many = (await http.post("/v1/embeddings", json={"input": texts, "model": "any"})).json()
    assert [entry["index"] for entry in many["data"]] == list(range(100))
    one = (await http.post("/v1/embeddings", json={"input": texts[70]})).json()
    assert one["data"][0]["embedding"] == many["data"][70]["embedding"]
    assert math.isclose(math.hypot(*one["data"][0]["embedding"]), 1, abs_tol=1e-3)
    assert one["model"] == many["model"] != ""
    assert one["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert many["usage"] == {"prompt_tokens": 200, "total_tokens": 200}


async def test_embeddings_in_base64_are_the_same_numbers(http: httpx.AsyncClient):
    asked = {"input": "a text"}
    numbers = (await http.post("/v1/embeddings", json=asked)).json()["data"][0]["embedding"]
    packed = (await http.post("/v1/embeddings", json={**asked, "encoding_format": "base64"})).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(numbers)}f", raw)) == numbers
    same = await http.post("/v1/embeddings", json={**asked, "dimensions": len(numbers)})
    assert same.status_code == 200


async def test_what_cannot_be_embedded_is_refused(http: httpx.AsyncClient):
    refused = [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", " "]}, "input[1]"),
        ({"input": [1, 2]}, "input[0]"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({}, "input"),
    ]
    told = []
    for body, _ in refused:
        answer = await http.post("/v1/embeddings", json=body)
        told.append((body, answer.status_code, answer.json()["error"]["param"]))
    assert told == [(body, 400, param) for body, param in refused]
