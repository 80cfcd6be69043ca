"""Requests that come, end and are given up at any time, on a tiny random-weight model with little memory."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import Delta, EngineRequest, Finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.protocol import SamplingParams

CONTEXT, MOST = 300, 24
PROMPTS = [tuple((5 * n + k) % 64 for n in range(length)) for k, length in enumerate((1, 2, 7, 30, 80, 250))]
# A sequence has room for 256 tokens or for 300: there is room for two or three at a time, of four that may run.
KV_CACHE_TOKENS = 812


@dataclass(frozen=True)
class Visit:
    """A request: when it comes (turns of the event loop), what it asks for, after how many tokens it is given up."""

    delay: int
    prompt: int
    most: int
    key: str
    leaves_after: int | None


VISITS = st.lists(
    st.builds(
        Visit,
        delay=st.integers(0, 30),
        prompt=st.integers(0, len(PROMPTS) - 1),
        most=st.integers(1, MOST),
        key=st.sampled_from(["", "one", "two"]),
        leaves_after=st.none() | st.integers(0, 6),
    ),
    min_size=1,
    max_size=9,
)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def tiny(make_tiny: Callable, request: pytest.FixtureRequest) -> LoadedModel:
    return make_tiny("llama", weights=request.param, head_dim=32, max_position_embeddings=CONTEXT).loaded


@pytest.fixture(scope="module")
def alone(tiny: LoadedModel, greedy_params: Callable[[int], SamplingParams]) -> list[list[int]]:
    """What each prompt's reply is where nobody else asks."""

    async def ask_all() -> list[list[int]]:
        engine = NativeEngine(tiny, max_running=1, prefix_cache_tokens=0)
        replies = [await _tokens(engine, EngineRequest(p, greedy_params(MOST)), None) for p in PROMPTS]
        await engine.close()
        return replies

    return asyncio.run(ask_all())


@pytest.fixture(scope="module")
def greedy_params() -> Callable[[int], SamplingParams]:
    from services.inference.engine.protocol import SamplingParams

    return lambda most: SamplingParams(0.0, 1.0, 0, 0.0, 1.0, 0.0, 0.0, 1, most, logprobs=0)


async def _tokens(engine: NativeEngine, request: EngineRequest, leaves_after: int | None) -> list[int]:
    tokens: list[int] = []
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Delta):
                tokens += [p.token_id for p in event.logprobs]
            if leaves_after is not None and len(tokens) >= leaves_after:
                break
            if isinstance(event, Finished):
                assert event.completion_tokens == len(tokens)
    return tokens


def test_whoever_comes_and_goes_each_gets_its_own_tokens_and_no_room_is_lost(
    tiny: LoadedModel, alone: list[list[int]], greedy_params: Callable[[int], SamplingParams]
):
    async def visit(engine: NativeEngine, one: Visit) -> None:
        for _ in range(one.delay):
            await asyncio.sleep(0)
        request = EngineRequest(PROMPTS[one.prompt], greedy_params(one.most), cache_key=one.key)
        tokens = await _tokens(engine, request, one.leaves_after)
        expected = alone[one.prompt][: one.most]
        assert tokens == (expected if one.leaves_after is None else expected[: len(tokens)])

    async def run(visits: list[Visit]) -> None:
        engine = NativeEngine(
            tiny, max_running=4, prefix_cache_tokens=600, kv_cache_tokens=KV_CACHE_TOKENS, draft_tokens=7
        )
        await asyncio.gather(*(visit(engine, one) for one in visits))
        # The step that takes this one up comes after the one that let go of those given up.
        await _tokens(engine, EngineRequest(PROMPTS[0], greedy_params(1)), None)
        load = engine.load()
        assert (load.running, load.kv_tokens_used) == (0, 0)
        assert engine._steps._runner._cache.sequences == 0
        assert engine._steps._runner._cache.reserved <= KV_CACHE_TOKENS
        await engine.close()

    # An engine of the compiled step takes half a second to make.
    @settings(max_examples=100 if tiny.info.weights == "fp32" else 20, deadline=None)
    @given(visits=VISITS)
    def holds(visits: list[Visit]) -> None:
        asyncio.run(run(visits))

    holds()


async def test_what_never_fits_beside_another_waits_for_it(
    tiny: LoadedModel, alone: list[list[int]], greedy_params: Callable[[int], SamplingParams]
):
    engine = NativeEngine(tiny, max_running=4, prefix_cache_tokens=0, kv_cache_tokens=CONTEXT)
    requests = [EngineRequest(PROMPTS[n], greedy_params(MOST)) for n in (5, 0, 4, 5)]
    replies = await asyncio.gather(*(_tokens(engine, request, None) for request in requests))
    assert replies == [alone[n] for n in (5, 0, 4, 5)]
    await engine.close()


async def test_a_context_longer_than_the_memory_is_cut_to_it(tiny: LoadedModel):
    engine = NativeEngine(tiny, max_running=4, prefix_cache_tokens=0, kv_cache_tokens=100)
    assert engine.model.context_tokens == 100
    assert engine.load().kv_tokens_capacity == 100
    await engine.close()
