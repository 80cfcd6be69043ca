"""JSON replies of the real embedded model, in either runner, beside replies in free text."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import jsonschema
import pytest

from services.inference.engine import grammar
from services.inference.engine.model_source import locate
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import (
    ChatPrompt,
    Delta,
    Event,
    Finished,
    FinishReason,
    Message,
    SchemaRefused,
)
from services.inference.engine.transformers_model import load_transformers_model
from services.inference.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.protocol import EngineRequest
    from services.inference.settings import InferenceSettings

    Ask = Callable[..., EngineRequest]

CITY = ChatPrompt((Message("user", "Describe Paris as JSON."),))
RUSSIAN = ChatPrompt((Message("user", "Какая сегодня погода? Ответь в JSON."),))
PLACE = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "population": {"type": "integer", "minimum": 0, "maximum": 99_999_999},
        "where": {
            "type": "object",
            "properties": {"country": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
            "required": ["country", "capital"],
            "additionalProperties": False,
        },
        "sights": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 2},
    },
    "required": ["city", "population", "where", "sights"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "object",
    "properties": {
        "погода": {"enum": ["солнечно", "дождь", "снег"]},
        "совет": {"type": "string", "pattern": "^[а-яА-ЯёЁ ]{3,30}$"},
    },
    "required": ["погода", "совет"],
    "additionalProperties": False,
}
SCORES = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 10}, "minItems": 3, "maxItems": 3}


async def _run(engine: NativeEngine, request: EngineRequest) -> list[Event]:
    return [event async for event in engine.generate(request)]


def _text(events: list[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, Delta))


def _finished(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_json_replies_and_free_ones_share_a_batch(engine: NativeEngine, ask: Ask, temperature: float):
    city, russian = await engine.tokenize(CITY), await engine.tokenize(RUSSIAN)
    asked = [(city, PLACE), (russian, WEATHER), (city, SCORES)]
    held = [
        ask(prompt, json_schema=json.dumps(schema), temperature=temperature, frequency_penalty=0.2, max_tokens=250)
        for prompt, schema in asked
    ]
    free = [ask(prompt, temperature=temperature, top_k=50, max_tokens=20) for prompt in (city, russian)]
    alone = [_text(await _run(engine, request)) for request in free]
    replies = await asyncio.gather(*(_run(engine, request) for request in (*held, *free)))
    assert [_text(events) for events in replies[len(held) :]] == alone
    for (_, schema), events in zip(asked, replies, strict=False):
        assert _finished(events).reason is FinishReason.EOS
        jsonschema.validate(json.loads(_text(events)), schema)


async def test_transformers_class_holds_to_a_schema_too(loaded: LoadedModel, settings: InferenceSettings, ask: Ask):
    folder = locate(settings.model, settings.data_dir, Progress())
    model = load_transformers_model(folder, "fp32", "cpu", prequantized=False, int8_threshold=0.0)
    engine = NativeEngine(replace(loaded, model=model), max_running=2, prefix_cache_tokens=0)
    prompt = await engine.tokenize(CITY)
    held, free = await asyncio.gather(
        _run(engine, ask(prompt, json_schema=json.dumps(SCORES), max_tokens=60)), _run(engine, ask(prompt))
    )
    await engine.close()
    jsonschema.validate(json.loads(_text(held)), SCORES)
    assert _finished(held).reason is FinishReason.EOS
    assert _finished(free).completion_tokens > 0


async def test_a_reply_whose_schema_takes_too_much_work_fails_alone(
    engine: NativeEngine, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grammar, "_limits", lambda: grammar.LLParserLimits(step_max_items=40, verbose_errors=False))
    prompt = await engine.tokenize(CITY)
    held, free = await asyncio.gather(
        _run(engine, ask(prompt, json_schema='{"type": "object"}', max_tokens=200)),
        _run(engine, ask(prompt, max_tokens=20)),
        return_exceptions=True,
    )
    assert isinstance(held, SchemaRefused)
    assert isinstance(free, list)
    assert _finished(free).completion_tokens == 20
    assert engine.load().running == 0
