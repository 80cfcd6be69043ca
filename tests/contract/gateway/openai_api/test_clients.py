"""The clients that people have, as their makers ship them, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from services.inference.engine.fake import FakeEngine
from tests.contract.gateway.house import House

HI: list[Any] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["Hello", " there", "."], context_tokens=200)


@pytest.fixture
async def client(house: House):
    async with openai.AsyncOpenAI(base_url=f"{house.http_address}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_openai_reads_whole_replies(client: openai.AsyncOpenAI):
    reply = await client.chat.completions.create(
        model="gpt-4o-mini", messages=HI, n=2, logprobs=True, top_logprobs=2, seed=1
    )
    assert [choice.message.content for choice in reply.choices] == ["Hello there."] * 2
    assert reply.usage.prompt_tokens_details.cached_tokens == 0
    assert [len(token.top_logprobs) for token in reply.choices[0].logprobs.content] == [2, 2, 2]


async def test_openai_reads_streams(client: openai.AsyncOpenAI):
    stream = await client.chat.completions.create(
        model="x", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there."
    assert chunks[-1].usage.completion_tokens == 3
    async with client.chat.completions.stream(model="x", messages=HI) as events:
        assert (await events.get_final_completion()).choices[0].message.content == "Hello there."


async def test_openai_reads_errors_as_their_own_kinds(client: openai.AsyncOpenAI):
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="x", messages=HI, tools=[{"type": "function"}])
    assert refused.value.param == "tools"
    with pytest.raises(openai.BadRequestError) as too_long:
        await client.chat.completions.create(
            model="x", messages=[{"role": "user", "content": "word " * 300}], stream=True
        )
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")
    with pytest.raises(openai.BadRequestError, match="less_than_equal"):
        await client.chat.completions.create(model="x", messages=HI, seed=2**63)


class TestAnEngineThatDies:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two"], die_after=1)

    async def test_is_an_error_in_openais_streams(self, client: openai.AsyncOpenAI):
        stream = await client.chat.completions.create(model="x", messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="stopped working"):
            async for _ in stream:
                pass

    async def test_is_an_error_in_its_streamed_responses(self, client: openai.AsyncOpenAI):
        stream = await client.responses.create(model="x", input="Hi", stream=True)
        with pytest.raises(openai.APIError, match="stopped working"):
            async for _ in stream:
                pass


async def test_openai_reads_the_other_endpoints(client: openai.AsyncOpenAI):
    assert [model.id async for model in client.models.list()] == ["fake"]
    assert (await client.completions.create(model="x", prompt="Once")).choices[0].text == "Hello there."
    embedded = await client.embeddings.create(model="x", input=["a", "b"])
    assert [len(entry.embedding) > 1 for entry in embedded.data] == [True, True]


async def test_openai_parses_replies_by_a_schema(client: openai.AsyncOpenAI, house: House):
    from pydantic import BaseModel

    class Answer(BaseModel):
        word: str

    house.engine._reply = ['{"word":', ' "yes"}']
    parsed = await client.chat.completions.parse(model="x", messages=HI, response_format=Answer)
    assert parsed.choices[0].message.parsed == Answer(word="yes")
    response = await client.responses.parse(model="x", input="Hi", text_format=Answer)
    assert response.output_parsed == Answer(word="yes")
    assert '"word"' in house.engine.requests[-1].json_schema


async def test_openai_reads_responses_whole_and_streamed(client: openai.AsyncOpenAI):
    first = await client.responses.create(model="x", input="Hi", instructions="Be kind.")
    assert first.output_text == "Hello there."
    async with client.responses.stream(model="x", input="More", previous_response_id=first.id) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text == "Hello there."
    assert final.usage.input_tokens > first.usage.input_tokens
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="x", input="Hi", previous_response_id="resp_none_1")


async def test_openai_reads_kept_responses_again_and_deletes_them(client: openai.AsyncOpenAI):
    first = await client.responses.create(model="x", input="Hi")
    second = await client.responses.create(model="x", input="More", previous_response_id=first.id)
    again = await client.responses.retrieve(second.id)
    assert (again.output_text, again.status, again.usage) == (second.output_text, "completed", second.usage)
    assert again.previous_response_id == first.id
    listed = client.responses.input_items.list(second.id, limit=2)
    assert [item.content[0].text async for item in listed] == ["More", "Hello there.", "Hi"]
    await client.responses.delete(first.id)
    for read in (client.responses.retrieve, client.responses.input_items.list, client.responses.delete):
        with pytest.raises(openai.NotFoundError, match="no such response"):
            await read(first.id)
    assert (await client.responses.retrieve(second.id)).output_text == "Hello there."


async def test_openais_client_without_asyncio_works_too(house: House):
    def talk() -> tuple[str, str]:
        with openai.OpenAI(base_url=f"{house.http_address}/v1", api_key="none") as client:
            whole = client.chat.completions.create(model="x", messages=HI)
            stream = client.chat.completions.create(model="x", messages=HI, stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            return whole.choices[0].message.content or "", streamed

    assert await asyncio.to_thread(talk) == ("Hello there.", "Hello there.")


async def test_a_conversation_goes_in_openais_extra_fields(client: openai.AsyncOpenAI, house: House):
    first = await client.chat.completions.create(model="x", messages=HI, extra_body={"conversation": "new"})
    name = first.conversation
    await client.chat.completions.create(
        model="x", messages=[{"role": "user", "content": "More"}], extra_headers={"X-Conversation": name}
    )
    assert "Hi" in house.prompt()


async def test_langchain_works(house: House):
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    address = f"{house.http_address}/v1"
    model = ChatOpenAI(model="x", base_url=address, api_key="none", max_retries=0)
    reply = await model.ainvoke("Hi")
    assert reply.content == "Hello there."
    assert reply.usage_metadata["output_tokens"] == 3
    streamed = [chunk.content async for chunk in model.astream("Hi")]
    assert "".join(streamed) == "Hello there."
    embeddings = OpenAIEmbeddings(model="x", base_url=address, api_key="none", check_embedding_ctx_length=False)
    assert len(await embeddings.aembed_documents(["a", "b"])) == 2


@pytest.mark.filterwarnings("ignore")  # its own, of which there are many
async def test_litellm_works(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    asked: dict[str, Any] = {
        "model": "openai/x", "api_base": f"{house.http_address}/v1", "api_key": "none", "num_retries": 0,
    }  # fmt: skip
    reply = await litellm.acompletion(messages=HI, **asked)
    assert reply.choices[0].message.content == "Hello there."
    stream = await litellm.acompletion(messages=HI, stream=True, **asked)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello there."
    with pytest.raises(litellm.ContextWindowExceededError):
        await litellm.acompletion(messages=[{"role": "user", "content": "word " * 300}], **asked)


@pytest.mark.filterwarnings("ignore")  # its own
async def test_llm_works(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("LLM_LOAD_PLUGINS", "")  # the embedded model's package is a plugin of it, without what it needs
    from llm.default_plugins.openai_models import Chat

    def talk() -> list[str]:
        model = Chat("x", model_name="x", api_base=f"{house.http_address}/v1")
        return [model.prompt("Hi", key="none", stream=streamed).text() for streamed in (False, True)]

    assert await asyncio.to_thread(talk) == ["Hello there."] * 2
