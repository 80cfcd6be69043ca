"""Greedy replies in fp32 are, token for token, transformers' own, however requests come together.

Each way is taken by all prompts at once, on the real embedded model and on tiny models of each family with random
weights.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import pytest
import torch

from services.inference.engine import prefill_budget
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import Delta, Finished, FinishReason, Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transformers import PreTrainedModel

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.protocol import EngineRequest
    from services.inference.engine.scheduler import Work

    Ask = Callable[..., EngineRequest]

    class Tiny(Protocol):
        loaded: LoadedModel
        oracle: PreTrainedModel

    class Reference(Protocol):
        prompt: tuple[int, ...]
        tokens: list[int]

    class Agreement(Protocol):
        compared: int
        near_ties: int

        def check(self, tokens: list[int], reference: Reference) -> None: ...

    Take = Callable[..., Awaitable[list["Reply"]]]


@dataclass(frozen=True)
class Way:
    """How requests come together."""

    at_once: int
    """How many run at the same time, at most."""
    arriving: bool = False
    """They come while others are under way, not all at the beginning."""
    reuse: bool = False
    """Each finds the KV cache of a prompt that begins as its own does."""
    scarce: bool = False
    """There is room in the KV cache for two or three."""
    piece: int | None = None
    """Prompt tokens that a step reads, where not the usual number."""


WAYS = {
    "alone": Way(1),
    "batched": Way(8, arriving=True),
    "with a prefix reused": Way(8, reuse=True),
    "after waiting for room in the KV cache": Way(8, scarce=True),
    "with prompts read in pieces": Way(8, arriving=True, piece=7),
    "all of it": Way(8, arriving=True, reuse=True, scarce=True, piece=7),
}


@dataclass(frozen=True)
class Reply:
    tokens: list[int]
    """Without the one that ends it."""
    end: Finished


async def _reply(engine: NativeEngine, request: EngineRequest, delay: int = 0) -> Reply:
    for _ in range(delay):
        await asyncio.sleep(0)
    events = [event async for event in engine.generate(request)]
    assert isinstance(events[-1], Finished)
    return Reply([p.token_id for e in events if isinstance(e, Delta) for p in e.logprobs], events[-1])


@pytest.fixture
def take(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Takes all prompts one way, and checks that it was that way."""

    async def replies(
        loaded: LoadedModel, references: list[Reference], way: Way, *, most: int, scarce_tokens: int
    ) -> list[Reply]:
        if way.piece is not None:
            monkeypatch.setattr(prefill_budget, "MOST_TOKENS", way.piece)
        engine = NativeEngine(
            loaded,
            max_running=way.at_once,
            prefix_cache_tokens=100_000 if way.reuse else 0,
            kv_cache_tokens=scarce_tokens if way.scarce else None,
        )
        prompts = [reference.prompt for reference in references]
        keys = [f"{n}" if way.reuse else "" for n in range(len(prompts))]
        if way.reuse:
            # The first two thirds, and then something else, which has to be cut off again.
            begun = [
                ask((*p[: 2 * len(p) // 3], 1), max_tokens=2, cache_key=k) for p, k in zip(prompts, keys, strict=True)
            ]
            await asyncio.gather(*(_reply(engine, request) for request in begun))
        waited = _count_waits(engine, way.at_once, monkeypatch)
        requests = [ask(p, max_tokens=most, logprobs=0, cache_key=k) for p, k in zip(prompts, keys, strict=True)]
        delays = torch.randint(60, (len(prompts),), generator=torch.Generator().manual_seed(1)).tolist()
        replies = await asyncio.gather(
            *(_reply(engine, r, delay if way.arriving else 0) for r, delay in zip(requests, delays, strict=True))
        )
        await engine.close()
        assert bool(waited) == way.scarce
        for reply, prompt in zip(replies, prompts, strict=True):
            assert (reply.end.cached_tokens > 0) == (way.reuse and len(prompt) > 2)
        return replies

    return replies


def _count_waits(engine: NativeEngine, places: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list that grows with each step in which somebody waits beside a place that is free."""
    waits: list[int] = []
    schedule = engine._steps._scheduler.schedule

    def watched() -> list[Work]:
        waiting = engine._steps._scheduler.waiting
        if waiting and len(engine._steps._scheduler.running) < places:
            waits.append(waiting)
        return schedule()

    monkeypatch.setattr(engine._steps._scheduler, "schedule", watched)
    return waits


# Tiny models. Prompts are up to 28 windows long.
TINY_LENGTHS = [1 + (37 * n) % 225 for n in range(52)]
TINY_MOST = 16
WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen3": {},
    "gemma3_text": {**WINDOWS, "query_pre_attn_scalar": 24},
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, make_tiny: Callable[..., Tiny]) -> Tiny:
    return make_tiny(request.param, num_hidden_layers=4, **FAMILIES[request.param])


@pytest.fixture(scope="module")
def tiny_references(family: Tiny, refer: Callable[..., Reference]) -> list[Reference]:
    dice = torch.Generator().manual_seed(11)
    prompts = [tuple(torch.randint(64, (length,), generator=dice).tolist()) for length in TINY_LENGTHS]
    return [refer(family.oracle, prompt, TINY_MOST) for prompt in prompts]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_tiny_model_says_what_transformers_says(
    family: Tiny, tiny_references: list[Reference], way: Way, take: Take, agreement: Agreement
):
    replies = await take(family.loaded, tiny_references, way, most=TINY_MOST, scarce_tokens=3 * 256)
    for reply, reference in zip(replies, tiny_references, strict=True):
        agreement.check(reply.tokens, reference)
    assert agreement.compared >= 50
    assert agreement.near_ties <= 1


# The embedded model.
REAL_MOST = 6
REAL_WAYS = {
    name: way if way.piece is None else replace(way, piece=48) for name, way in WAYS.items() if name != "all of it"
}
ASKED = (
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "What is 17 times 3?",
    "Привет! Кто ты?",
    "Какая столица у России?",
    "Назови три города на Волге.",
)
CONTINUED = (
    *(f"The capital of {country} is" for country in ("France", "Italy", "Japan", "Peru", "Kenya", "Norway")),
    "Gravity is what makes",
    "The colours of the rainbow are",
    "'Good morning' in Spanish is",
    "A spider has",
    "Hamlet was written by",
    "To make pancakes, first",
    "The sky is blue because",
    "Once upon a time there was",
    "The three laws of robotics are",
    "1, 2, 3, 4, 5,",
    "A",
    "Москва — это",
    "Расскажи о себе.",
    "Зимой на улице",
    "Два плюс два будет",
    "Слово «дом» по-английски",
    "Чёрная дыра — это",
    "Посоветуй книгу на вечер.",
    "Спасибо, до свидания!",
    "Трава зелёная, потому что",
    "Жили-были дед и баба.",
    "def fibonacci(n):\n",
    "class Stack:\n    def __init__(self):\n",
    "import os\n\nfor name in os.listdir('.'):\n",
    "SELECT name, age FROM people WHERE",
    "#include <stdio.h>\n\nint main(void) {\n",
    "<html>\n<head>\n<title>",
    "const add = (a, b) =>",
    '{"name": "Anna", "age":',
    "fn main() {\n    println!(",
    "#!/bin/sh\nfor f in *.txt; do",
    "x = [n * n for n in range(10) if",
    "try:\n    value = int(text)\nexcept",
)
LONG = (
    "The quick brown fox jumps over the lazy dog and runs away. " * 16,
    "Ночью шёл снег, а утром светило солнце. " * 5,
    "def f(x):\n    return x + 1\n\n" * 12,
    " ".join(str(n) for n in range(50)),
    "one two three four five six seven eight nine ten " * 11,
    "Dear Sir or Madam, I am writing to you about my order. " * 9,
)


@pytest.fixture(scope="module")
def real_references(
    loaded: LoadedModel, embedded_oracle: PreTrainedModel, refer: Callable[..., Reference]
) -> list[Reference]:
    tokenizer = loaded.tokenizer
    asked = [tokenizer.encode_chat((Message("user", text),)) for text in ASKED]
    prompts = [*asked, *(tokenizer.encode_text(text) for text in (*CONTINUED, *LONG))]
    return [refer(embedded_oracle, prompt, REAL_MOST) for prompt in prompts]


@pytest.mark.parametrize("way", REAL_WAYS.values(), ids=REAL_WAYS)
async def test_the_embedded_model_says_what_transformers_says(
    loaded: LoadedModel, real_references: list[Reference], way: Way, take: Take, agreement: Agreement
):
    replies = await take(loaded, real_references, way, most=REAL_MOST, scarce_tokens=3 * 256)
    for reply, reference in zip(replies, real_references, strict=True):
        ended = reply.end.reason is FinishReason.EOS
        assert reply.end.completion_tokens == len(reply.tokens) + ended
        # The token that ends a reply is not part of it.
        assert not ended or reference.tokens[-1] in loaded.end_tokens
        agreement.check([*reply.tokens, *reference.tokens[-1:]] if ended else reply.tokens, reference)
    assert agreement.compared >= 50
    assert agreement.near_ties <= 1
