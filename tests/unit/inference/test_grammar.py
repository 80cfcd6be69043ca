"""Which tokens a schema lets come next, on the real tokenizer."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from services.inference.engine import grammar
from services.inference.engine.grammar import Grammars, Matcher
from services.inference.engine.protocol import SchemaRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.inference.engine.loader import LoadedModel

OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "integer"}}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@pytest.fixture
def grammars(loaded: LoadedModel) -> Iterator[Grammars]:
    grammars = Grammars(loaded.tokenizer.as_json, loaded.end_tokens)
    yield grammars
    grammars.close()


def _allows(mask: bytes, token: int) -> bool:
    return bool(mask[token // 8] >> token % 8 & 1)


def _encode(loaded: LoadedModel, text: str) -> tuple[int, ...]:
    return loaded.tokenizer.encode_text(text)


def _walk(matcher: Matcher, loaded: LoadedModel, text: str) -> bool:
    """Whether a text is let through, token by token."""
    for token in _encode(loaded, text):
        if not _allows(matcher.allowed(), token):
            return False
        matcher.advance(token)
    return True


async def test_a_reply_may_end_exactly_where_it_is_whole(grammars: Grammars, loaded: LoadedModel):
    matcher = await grammars.matcher('{"type": "integer"}')
    ends = []
    for token in _encode(loaded, "-17"):
        ends.append({_allows(matcher.allowed(), end) for end in loaded.end_tokens})
        matcher.advance(token)
    ends.append({_allows(matcher.allowed(), end) for end in loaded.end_tokens})
    assert ends == [{False}, {False}, {True}, {True}]
    assert not matcher.complete  # another digit can follow
    matcher.advance(min(loaded.end_tokens))
    assert matcher.complete


async def test_a_reply_that_nothing_can_follow_is_complete(grammars: Grammars, loaded: LoadedModel):
    matcher = await grammars.matcher(json.dumps(OBJECT))
    assert _walk(matcher, loaded, '{"a": 1, "b": [2, 3]')
    assert not matcher.complete
    assert _walk(matcher, loaded, "}")
    assert matcher.complete
    assert not matcher.failed


@pytest.mark.parametrize("text", ['{"a":1,"b":[]}', '{"a": 1, "b": [1, 2]}', '{\n  "a": 1,\n  "b": [\n    1\n  ]\n}'])
async def test_json_may_be_written_as_people_write_it(grammars: Grammars, loaded: LoadedModel, text: str):
    assert _walk(await grammars.matcher(json.dumps(OBJECT)), loaded, text)


@pytest.mark.parametrize("text", [" {", "\n{", '{"a":  1', '{"a":\n\n1', '{"b"', '{"a": "1"', '{"a": 1}'])
async def test_anything_else_is_not_let_through(grammars: Grammars, loaded: LoadedModel, text: str):
    assert not _walk(await grammars.matcher(json.dumps(OBJECT)), loaded, text)


async def test_white_space_comes_to_an_end(grammars: Grammars, loaded: LoadedModel):
    """Were white space all that the model wants to write."""
    white = [t for t in range(loaded.info.vocabulary_size) if not loaded.tokenizer.vocabulary.bytes_of(t).strip()]
    matcher = await grammars.matcher(json.dumps(OBJECT))
    assert _walk(matcher, loaded, '{"a":')
    for _ in range(30):
        mask = matcher.allowed()
        choices = [token for token in white if _allows(mask, token)]
        if not choices:
            break
        matcher.advance(min(choices, key=lambda t: len(loaded.tokenizer.vocabulary.bytes_of(t))))
    assert not choices
    assert _walk(matcher, loaded, "1")


async def test_replies_to_one_schema_are_followed_each_by_itself(grammars: Grammars, loaded: LoadedModel):
    schema = json.dumps({"enum": ["ab", "cd"]})
    one, other = await grammars.matcher(schema), await grammars.matcher(schema)
    assert _walk(one, loaded, '"ab"')
    assert _walk(other, loaded, '"cd"')


async def test_a_schema_is_compiled_once_however_many_ask_at_once(grammars: Grammars, monkeypatch: pytest.MonkeyPatch):
    compiled = []
    make = grammar.LLMatcher

    class Counted:
        grammar_from_json_schema = make.grammar_from_json_schema

        def __new__(cls, *args, **kwargs):
            compiled.append(1)
            return make(*args, **kwargs)

    monkeypatch.setattr(grammar, "LLMatcher", Counted)
    await asyncio.gather(*(grammars.matcher(json.dumps(OBJECT)) for _ in range(20)))
    assert len(compiled) == 1


async def test_the_loop_goes_on_while_a_large_schema_is_compiled(grammars: Grammars):
    words = {f"p{n}": {"enum": [f"v{n}_{m}" for m in range(20)]} for n in range(400)}
    compiling = asyncio.ensure_future(grammars.matcher(json.dumps({"type": "object", "properties": words})))
    turns = 0
    while not compiling.done():
        turns += 1
        await asyncio.sleep(0)
    assert isinstance(compiling.result(), Matcher)
    assert turns > 10


async def test_a_reply_that_takes_too_much_work_is_lost_and_says_so(
    loaded: LoadedModel, grammars: Grammars, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grammar, "_limits", lambda: grammar.LLParserLimits(step_max_items=60, verbose_errors=False))
    matcher = await grammars.matcher(json.dumps({"type": "object"}))
    deep = 0
    while deep < 50 and _walk(matcher, loaded, '{"a":'):
        deep += 1
    assert matcher.failed
    assert not matcher.complete


async def test_a_model_without_an_end_holds_to_no_schema(loaded: LoadedModel):
    grammars = Grammars(loaded.tokenizer.as_json, frozenset())
    with pytest.raises(SchemaRefused, match="no token that ends a reply"):
        await grammars.matcher("{}")
    grammars.close()


async def test_a_tokenizer_of_an_unknown_kind_holds_to_no_schema():
    grammars = Grammars(lambda: '{"model": {"type": "Morse"}}', frozenset({1}))
    with pytest.raises(SchemaRefused, match="tokenizer"):
        await grammars.matcher("{}")
    grammars.close()
