"""Replies are bit for bit the same with guesses at what comes next and without, and take fewer steps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import torch

from services.inference.engine.model_source import locate
from services.inference.engine.native import NativeEngine, load_native_engine
from services.inference.engine.protocol import ChatPrompt, Delta, Finished, FinishReason, Message
from services.inference.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.protocol import EngineRequest, TokenLogprob
    from services.inference.engine.scheduler import Work
    from services.inference.settings import InferenceSettings

    Ask = Callable[..., EngineRequest]

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTEXT = 200
DRAFTED = 7
WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, object]] = {"llama": {}, "gemma3_text": {**WINDOWS, "query_pre_attn_scalar": 32}}


class Engines:
    """The same model without guesses and with them."""

    def __init__(self, plain: NativeEngine, guessing: NativeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plain = plain
        self.guessing = guessing
        self.steps = 0
        """Steps of the one that guesses."""
        self.guessed = 0
        run = guessing._steps._runner.run

        def counted(works: list[Work]) -> torch.Tensor:
            self.steps += 1
            self.guessed += sum(len(work.draft) for work in works)
            return run(works)

        monkeypatch.setattr(guessing._steps._runner, "run", counted)

    async def both(self, *requests: EngineRequest) -> list[tuple[list[TokenLogprob], Finished]]:
        """Asks both the same, all at once; checks that they say the same; returns what they say."""
        plain, guessing = [
            await asyncio.gather(*(_reply(engine, request) for request in requests))
            for engine in (self.plain, self.guessing)
        ]
        assert [tokens for tokens, _ in plain] == [tokens for tokens, _ in guessing]
        assert [_outcome(end) for _, end in plain] == [_outcome(end) for _, end in guessing]
        return guessing


async def _reply(engine: NativeEngine, request: EngineRequest) -> tuple[list[TokenLogprob], Finished]:
    events = [event async for event in engine.generate(request)]
    assert isinstance(events[-1], Finished)
    return [logprob for e in events if isinstance(e, Delta) for logprob in e.logprobs], events[-1]


def _outcome(end: Finished) -> Finished:
    return replace(end, queue_seconds=0.0, prefill_seconds=0.0, decode_seconds=0.0)


def _prompts(count: int) -> list[tuple[int, ...]]:
    dice = torch.Generator().manual_seed(5)
    return [tuple(torch.randint(64, (1 + 13 * n % 90,), generator=dice).tolist()) for n in range(count)]


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, make_tiny: Callable) -> LoadedModel:
    changed = {"head_dim": 32, "max_position_embeddings": CONTEXT, **FAMILIES[request.param]}
    return make_tiny(request.param, weights="int8", **changed).loaded


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tiny: LoadedModel) -> AsyncIterator[list[NativeEngine]]:
    made = [NativeEngine(tiny, max_running=8, prefix_cache_tokens=10_000, draft_tokens=n) for n in (0, DRAFTED)]
    yield made
    for engine in made:
        assert engine._steps._runner._cache.sequences == 0
        await engine.close()


@pytest.fixture
def engines(made: list[NativeEngine], monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(*made, monkeypatch)


async def test_greedy_replies_are_the_same_and_take_fewer_steps(engines: Engines, ask: Ask):
    for prompt in _prompts(20):
        ((tokens, _),) = await engines.both(ask(prompt, max_tokens=80, logprobs=2))
        assert len(tokens) == 80
    assert engines.guessed > 200
    # Tiny models soon repeat themselves.
    assert engines.steps < 20 * 80 / 2


@pytest.mark.parametrize("temperature", [0.2, 1.0])
async def test_seeded_replies_are_the_same(engines: Engines, ask: Ask, temperature: float):
    for seed, prompt in enumerate(_prompts(8)):
        sampling = {"temperature": temperature, "top_p": 0.9, "seed": seed, "max_tokens": 60, "logprobs": 0}
        await engines.both(ask(prompt, **sampling))
    assert engines.guessed


async def test_penalized_replies_are_the_same(engines: Engines, ask: Ask):
    for prompt in _prompts(8):
        await engines.both(ask(prompt, repetition_penalty=1.05, frequency_penalty=0.1, max_tokens=60, logprobs=0))
    assert engines.guessed


async def test_several_at_once_are_the_same(engines: Engines, ask: Ask):
    for count in (2, 3, 5, 8):
        requests = [
            ask(prompt, max_tokens=20 + 9 * n, temperature=0.0 if n % 2 else 0.3, logprobs=0)
            for n, prompt in enumerate(_prompts(count))
        ]
        await engines.both(*requests)
    assert engines.guessed


async def test_a_stop_string_ends_a_reply_within_what_was_guessed(engines: Engines, ask: Ask, tiny: LoadedModel):
    loop = _prompts(4)[-1]
    ((tokens, _),) = await engines.both(ask(loop, max_tokens=60, logprobs=0))
    texts = [tiny.tokenizer.vocabulary.bytes_of(t.token_id).decode("utf-8", "replace") for t in tokens]
    ends = set()
    for at in range(20, 50, 3):
        ((_, end),) = await engines.both(ask(loop, max_tokens=60, stop=("".join(texts[at : at + 2]),)))
        ends.add(end.reason)
    assert FinishReason.STOP_STRING in ends


async def test_the_last_token_is_that_of_the_limit_or_of_the_context(engines: Engines, ask: Ask):
    for most in (1, 2, 3, 5, 8, 13, 21, 34):
        ((tokens, end),) = await engines.both(ask((1, 2) * 20, max_tokens=most, logprobs=0))
        assert (len(tokens), end.reason) == (most, FinishReason.MAX_TOKENS)
    for length in range(CONTEXT - 12, CONTEXT - 2):
        prompt = ((1, 2, 3) * CONTEXT)[:length]
        ((tokens, end),) = await engines.both(ask(prompt, max_tokens=100, logprobs=0))
        assert (len(tokens), end.reason) == (CONTEXT - length, FinishReason.CONTEXT_FULL)


async def test_the_next_turn_goes_on_from_what_was_guessed_right_and_wrong(engines: Engines, ask: Ask):
    prompt: tuple[int, ...] = (1, 2, 3)
    for turn in range(1, 6):
        ((tokens, end),) = await engines.both(ask(prompt, cache_key="one", max_tokens=24, logprobs=0))
        # All of the last turn but its last token, which nothing was computed for.
        assert end.cached_tokens == (len(prompt) - 3 if turn > 1 else 0)
        prompt = (*prompt, *(t.token_id for t in tokens), turn, turn + 1)
    ((fresh, _),) = await engines.both(ask(prompt, max_tokens=24, logprobs=0))
    ((reused, _),) = await engines.both(ask(prompt, cache_key="one", max_tokens=24, logprobs=0))
    assert fresh == reused


async def test_the_embedded_model_says_the_same_in_text_and_in_json(
    settings: InferenceSettings, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    compiled = settings.model_copy(update={"weights": "auto", "threads": 2})
    folder = locate(compiled.model, compiled.data_dir, Progress())
    made = [
        load_native_engine(compiled.model_copy(update={"draft_tokens": draft}), folder, Progress())
        for draft in (0, DRAFTED)
    ]
    engines = Engines(*made, monkeypatch)
    schema = '{"type": "object", "properties": {"cities": {"type": "array", "items": {"enum": ["Paris", "Rome"]}}}}'
    asked = (
        ("Write the numbers from 1 to 20, one a line.", None, 0.0),
        ("Назови три города на Волге.", None, 0.0),
        ("Write a Python class for a stack with push and pop.", None, 0.7),
        ("Name cities as JSON.", schema, 0.7),
    )
    for text, json_schema, temperature in asked:
        prompt = await engines.plain.tokenize(ChatPrompt((Message("user", text),)))
        await engines.both(ask(prompt, max_tokens=120, logprobs=0, temperature=temperature, json_schema=json_schema))
    assert engines.guessed
    for engine in made:
        await engine.close()


async def test_a_model_whose_tokens_hang_on_their_company_is_never_asked_to_guess(
    loaded: LoadedModel, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    engine = NativeEngine(loaded, max_running=2, prefix_cache_tokens=0, draft_tokens=DRAFTED)
    drafts = []
    run = engine._steps._runner.run
    monkeypatch.setattr(
        engine._steps._runner, "run", lambda works: (drafts.extend(w.draft for w in works), run(works))[1]
    )
    await _reply(engine, ask((1, 2) * 20, max_tokens=10))
    assert len(drafts) == 10
    assert not any(drafts)
    await engine.close()
