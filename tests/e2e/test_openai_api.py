"""The OpenAI-compatible API with the real model, and the examples of its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import openai
import pytest

from tests.e2e.stack import ROOT, Stack, until

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
PAGE = ROOT / "docs" / "openai-api.md"
EXAMPLES = re.findall(r"<!-- example -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
async def client(stack: Stack, request: pytest.FixtureRequest):
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{stack.http_port}/v1",
        api_key="none",
        default_headers={"X-User-Id": request.node.name},
    ) as client:
        yield client


async def test_the_stream_is_the_whole_reply_and_its_tokens_are_the_text(client: openai.AsyncOpenAI):
    asked = {
        "model": "any", "messages": CAPITAL, "temperature": 0, "max_tokens": 60, "logprobs": True, "top_logprobs": 3,
    }  # fmt: skip
    whole = (await client.chat.completions.create(**asked)).choices[0]
    assert "Paris" in whole.message.content
    assert whole.finish_reason == "stop"
    assert "".join(token.token for token in whole.logprobs.content) == whole.message.content
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in whole.logprobs.content)
    stream = await client.chat.completions.create(**asked, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason


async def test_a_conversation_sent_again_is_found_in_the_cache(client: openai.AsyncOpenAI):
    messages = [{"role": "user", "content": "Tell me about the sea."}]
    first = await client.chat.completions.create(model="any", messages=messages, max_tokens=16)
    messages += [{"role": "assistant", "content": first.choices[0].message.content}, *CAPITAL]
    second = await client.chat.completions.create(model="any", messages=messages, max_tokens=4)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1


async def test_several_replies_with_a_seed_are_several_and_the_same_again(client: openai.AsyncOpenAI):
    asked = {"model": "any", "messages": CAPITAL, "n": 2, "seed": 42, "temperature": 1.2, "max_tokens": 20}
    first, again = [
        [choice.message.content for choice in (await client.chat.completions.create(**asked)).choices] for _ in range(2)
    ]
    assert first == again
    assert len(set(first)) == 2


async def test_a_reply_keeps_to_its_schema(client: openai.AsyncOpenAI):
    for form, expected in (
        ({"type": "json_object", "schema": {"const": "42"}}, "42"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": {"a": [1]}}}}, {"a": [1]}),
    ):
        reply = await client.chat.completions.create(model="any", messages=CAPITAL, response_format=form, max_tokens=20)
        assert json.loads(reply.choices[0].message.content) == expected


async def test_texts_of_like_meaning_have_like_embeddings(client: openai.AsyncOpenAI):
    embedded = await client.embeddings.create(model="any", input=["A cat sleeps.", "A kitten naps.", "Stocks fell."])
    cat, kitten, stocks = [entry.embedding for entry in embedded.data]

    def dot(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert dot(cat, kitten) > dot(cat, stocks)


async def test_a_client_that_goes_away_frees_the_model(client: openai.AsyncOpenAI, doors):
    from chatbot.v1 import inference_service_pb2 as inference_pb

    stream = await client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Count to a thousand."}], max_tokens=1000, stream=True
    )
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()

    async def idle() -> bool:
        load = await doors.inference.GetLoad(inference_pb.GetLoadRequest())
        return load.running_requests == 0

    await until(idle)


async def test_a_prompt_over_the_context_is_refused(client: openai.AsyncOpenAI):
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "word " * 40_000}], stream=True
        )
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("place", range(len(EXAMPLES)))
def test_the_examples_of_the_page_work_as_they_stand(stack: Stack, place: int):
    program = EXAMPLES[place].replace("127.0.0.1:8080", f"127.0.0.1:{stack.http_port}")
    ran = subprocess.run(
        [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_the_page_has_examples():
    assert len(EXAMPLES) == 3
