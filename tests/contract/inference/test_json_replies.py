"""`Generate` with a JSON Schema, through the real door and the native engine, on a tiny model of random weights.

Its logits mean nothing, so every reply is whatever the schema lets it be.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import jsonschema
import pytest

from chatbot.v1 import chat_message_pb2 as chat
from chatbot.v1 import inference_service_pb2 as pb
from services.inference.engine.fake import REFUSED_TEXT, FakeEngine
from services.inference.requests import MAX_SCHEMA_CHARACTERS
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.rpc import errors
from services.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from services.inference.engine.protocol import Engine

    Serve = Callable[..., Awaitable[object]]

ROOT = Path(__file__).resolve().parents[3]
FIELD = "response_format.json_schema"
WORD = {"type": "string", "maxLength": 12}
SCHEMAS: dict[str, dict[str, object]] = {
    "object": {
        "type": "object",
        "properties": {"name": WORD, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {
            "город": {"enum": ["Москва", "Санкт-Петербург", "Казань"]},
            "point": {
                "type": "object",
                "properties": {"lat": {"type": "number", "multipleOf": 0.5, "minimum": -90, "maximum": 90}},
                "required": ["lat"],
                "additionalProperties": False,
            },
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 3},
        },
        "required": ["город", "point", "tags"],
        "additionalProperties": False,
        "$defs": {"tag": {"type": "string", "pattern": "^[а-яё]{2,6}$"}},
    },
    "choice": {"anyOf": [{"const": None}, {"type": "boolean"}, {"enum": ["да", "нет", 3.5]}]},
    "array": {
        "type": "array",
        "items": {"type": "integer", "minimum": -99, "maximum": 99},
        "minItems": 2,
        "maxItems": 5,
    },
    "date": {"type": "string", "format": "date"},
    "optional": {"type": "object", "properties": {"a": WORD, "b": {"type": "null"}}, "additionalProperties": False},
}


def _asked(schema: dict[str, object] | None, **sampling: object) -> pb.GenerateRequest:
    form = None if schema is None else pb.ResponseFormat(json_schema=json.dumps(schema, ensure_ascii=False))
    return pb.GenerateRequest(
        text="hi", sampling=pb.SamplingConfig(**{"max_tokens": 400, **sampling}), response_format=form
    )


async def _reply(call: AsyncIterator[pb.GenerateResponse]) -> tuple[str, pb.GenerateResponse.Finished]:
    events = [event async for event in call]
    return "".join(event.delta.text for event in events), events[-1].finished


async def _refusal(call: AsyncIterator[pb.GenerateResponse]) -> errors.ChatbotError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in call:
            pytest.fail("an event came")
    return errors.from_rpc_error(refused.value)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_every_reply_of_a_batch_satisfies_its_own_schema(serve: Serve, tiny_engine: Engine, temperature: float):
    stub = await serve(tiny_engine)
    asked = [
        (schema, _asked(schema, temperature=temperature, seed=seed)) for schema in SCHEMAS.values() for seed in range(3)
    ]
    free = [_asked(None, temperature=temperature, seed=seed, max_tokens=30) for seed in range(3)]
    alone = [await _reply(stub.Generate(request)) for request in free]
    replies = await asyncio.gather(
        *(_reply(stub.Generate(request)) for _, request in asked), *(_reply(stub.Generate(r)) for r in free)
    )
    assert [text for text, _ in replies[len(asked) :]] == [text for text, _ in alone]
    for (schema, _), (text, finished) in zip(asked, replies, strict=False):
        assert finished.finish_reason == chat.FINISH_REASON_EOS
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())


async def test_a_seed_reproduces_a_reply_whoever_shares_its_batch(serve: Serve, tiny_engine: Engine):
    stub = await serve(tiny_engine)
    requests = [_asked(s, temperature=1.0, seed=9, frequency_penalty=0.3, top_p=0.9) for s in SCHEMAS.values()]
    alone = [(await _reply(stub.Generate(request)))[0] for request in requests]
    together = await asyncio.gather(*(_reply(stub.Generate(request)) for request in requests))
    assert [text for text, _ in together] == alone
    assert len(set(alone)) == len(alone)


@pytest.mark.parametrize(
    "sampling",
    [
        {"top_k": 1},
        {"top_p": 0.01, "min_p": 0.9},
        {"repetition_penalty": 2.0, "presence_penalty": 2.0, "frequency_penalty": 2.0},
    ],
)
async def test_filters_and_penalties_choose_among_what_the_schema_allows(
    serve: Serve, tiny_engine: Engine, sampling: dict[str, float]
):
    stub = await serve(tiny_engine)
    text, _ = await _reply(stub.Generate(_asked(SCHEMAS["nested"], temperature=1.0, **sampling)))
    jsonschema.validate(json.loads(text), SCHEMAS["nested"])


async def test_logprobs_are_those_before_the_schema_was_heeded(serve: Serve, tiny_engine: Engine):
    stub = await serve(tiny_engine)
    free = [e async for e in stub.Generate(_asked(None, temperature=0, logprobs=20, max_tokens=1))]
    held = [e async for e in stub.Generate(_asked(SCHEMAS["object"], temperature=0, logprobs=20, max_tokens=1))]
    (first,), (other,) = ([p for e in events for p in e.delta.logprobs] for events in (free, held))
    assert other.token == b"{"
    assert [p.token_id for p in other.top] == [p.token_id for p in first.top]
    assert [p.logprob for p in other.top] == pytest.approx([p.logprob for p in first.top], abs=1e-5)
    assert other.logprob < first.logprob


async def test_a_reply_that_is_cut_says_so(serve: Serve, tiny_engine: Engine):
    stub = await serve(tiny_engine)
    text, finished = await _reply(stub.Generate(_asked(SCHEMAS["nested"], max_tokens=4)))
    assert finished.finish_reason == chat.FINISH_REASON_MAX_TOKENS
    assert text.startswith("{")


async def test_whole_json_that_nothing_can_follow_ends_the_reply_without_another_token(
    serve: Serve, tiny_engine: Engine
):
    stub = await serve(tiny_engine)
    text, finished = await _reply(stub.Generate(_asked({"const": "да"}, max_tokens=6)))
    # A token a byte: all that `max_tokens` allows is the JSON.
    assert (text, finished.usage.completion_tokens) == ('"да"', 6)
    assert finished.finish_reason == chat.FINISH_REASON_EOS


async def test_a_stop_string_ends_it_as_it_ends_any_reply(serve: Serve, tiny_engine: Engine):
    stub = await serve(tiny_engine)
    text, finished = await _reply(stub.Generate(_asked({"const": {"a": "end of it"}}, stop=["of"])))
    assert (text.replace(" ", "").replace("\n", ""), finished.stop) == ('{"a":"end', "of")


async def test_a_reply_that_is_cancelled_leaves_nothing_behind(serve: Serve, tiny_engine: Engine):
    stub = await serve(tiny_engine)
    call = stub.Generate(_asked({"type": "string", "minLength": 300}))
    async for event in call:
        if event.WhichOneof("event") == "delta":
            call.cancel()
            break
    text, _ = await _reply(stub.Generate(_asked(SCHEMAS["choice"])))
    jsonschema.validate(json.loads(text), SCHEMAS["choice"])
    async with asyncio.timeout(10):
        while (await stub.GetLoad(pb.GetLoadRequest())).running_requests:
            pass


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ('{"type": "string"', "JSON"),
        ("[" * 100_000, "JSON"),
        ("[1]", "object"),
        ("true", "object"),
        ('{"type": NaN}', "line 1"),
        ('{"items":' * 2000 + "1" + "}" * 2000, ""),
        ('{"type": "objekt"}', "objekt"),
        ('{"type": 5}', "type"),
        ('{"properties": {"a": {"not": {}}}, "type": "object"}', "not"),
        ('{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ('{"x-guidance": {"lenient": true}, "if": {}}', "if"),
        ('{"type": "string", "format": "telepathy"}', "telepathy"),
        ('{"type": "string", "pattern": "(?=a)"}', "look-around"),
        ('{"$ref": "https://example.com/schema"}', "https://example.com/schema"),
        ('{"$ref": "#/$defs/missing"}', "/$defs/missing"),
        ('{"allOf": [{"type": "string"}, {"type": "number"}]}', "nsatisfiable"),
        ('{"$ref": "#"}', "satisfied"),
        (json.dumps({"description": "x" * MAX_SCHEMA_CHARACTERS}), str(MAX_SCHEMA_CHARACTERS)),
    ],
)
async def test_a_schema_that_cannot_be_held_to_is_refused_before_anything_comes(
    serve: Serve, tiny_engine: Engine, schema: str, words: str
):
    stub = await serve(tiny_engine)
    request = pb.GenerateRequest(text="hi", response_format=pb.ResponseFormat(json_schema=schema))
    refusal = await _refusal(stub.Generate(request))
    assert isinstance(refusal, errors.InvalidArgument)
    assert [violation.field for violation in refusal.violations] == [FIELD]
    assert words in refusal.message
    assert len(refusal.message) < 500


async def test_any_engine_is_asked_about_the_schema_and_given_its_text(serve: Serve):
    engine = FakeEngine()
    stub = await serve(engine)
    schema = '{"type": "object"}'
    await _reply(stub.Generate(pb.GenerateRequest(text="a", response_format=pb.ResponseFormat(json_schema=schema))))
    await _reply(stub.Generate(pb.GenerateRequest(text="a")))
    assert [request.json_schema for request in engine.requests] == [schema, None]
    refused = pb.ResponseFormat(json_schema=json.dumps({"description": REFUSED_TEXT}))
    refusal = await _refusal(stub.Generate(pb.GenerateRequest(text="a", response_format=refused)))
    assert [violation.field for violation in refusal.violations] == [FIELD]


async def test_the_example_of_the_page_prints_a_number_out_of_a_reply(tiny_engine: Engine, tmp_path: Path):
    page = (ROOT / "docs" / "json-replies.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    settings = InferenceSettings(inference_grpc_port=0, data_dir=tmp_path)
    server = Server(InferenceService(settings, load_engine=lambda *_: tiny_engine), settings)
    await server.bind()
    await server.start()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        example[1].replace("127.0.0.1:50053", f"127.0.0.1:{server.port}"),
        env={**os.environ, "PYTHONPATH": str(ROOT / "gen")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    await server.stop(0)
    assert process.returncode == 0, err.decode()
    assert 0 <= int(out) <= 99


async def test_the_page_takes_and_refuses_the_keywords_that_it_says(serve: Serve, tiny_engine: Engine):
    stub = await serve(tiny_engine)
    text = (ROOT / "docs" / "json-replies.md").read_text(encoding="utf-8")
    refused = ("not", "if", "uniqueItems")
    values = {"not": {"type": "string"}, "if": {"type": "string"}, "uniqueItems": True}
    assert "Not taken are, among others, `not`, `if`,\n  `uniqueItems`" in text
    for keyword in refused:
        schema = {"type": ["array", "string"], keyword: values[keyword]}
        assert keyword in (await _refusal(stub.Generate(_asked(schema)))).message
    names = re.search(r"`format` \((.*?)\)", text, re.DOTALL)
    assert names is not None
    for name in re.findall(r"`([a-z0-9-]+)`", names[1]):
        await tiny_engine.check_schema(json.dumps({"type": "string", "format": name}))
