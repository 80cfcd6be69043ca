"""The slim decoder in steps of fixed shapes, as on a GPU but operation by operation: transformers is the oracle."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from services.inference.engine import native, prefill_budget
from services.inference.engine.kv_pages import PAGE_TOKENS
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import Delta, Event, Finished
from services.inference.engine.runner_choice import Limits, paged_runner
from services.inference.engine.step_input import Piece
from services.inference.engine.step_shapes import StepShape

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.paged_runner import PagedRunner
    from services.inference.engine.protocol import EngineRequest

    Ask = Callable[..., EngineRequest]

CONTEXT = 512
WINDOWS = {"sliding_window": 20, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen3": {},
    "gemma2": {**WINDOWS, "query_pre_attn_scalar": 16},
    "gemma3_text": {**WINDOWS, "query_pre_attn_scalar": 24},
}
LENGTHS = [1 + (53 * n) % 331 for n in range(24)]
MOST = 24


class Again:
    """Records by remembering what to do."""

    def __init__(self) -> None:
        self.replayed = 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            self.replayed += 1
            work()

        return replay


class Broken:
    """Can record two shapes."""

    def __init__(self) -> None:
        self.left = 2

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        if not self.left:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.left -= 1
        return work


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, make_tiny):
    changed = {"num_hidden_layers": 3, "max_position_embeddings": CONTEXT, **FAMILIES[request.param]}
    return make_tiny(request.param, **changed)


@pytest.fixture(scope="module")
def references(family, refer):
    dice = torch.Generator().manual_seed(11)
    prompts = [tuple(torch.randint(64, (length,), generator=dice).tolist()) for length in LENGTHS]
    return [refer(family.oracle, prompt, MOST) for prompt in prompts]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch):
    """Starts an engine on steps of fixed shapes, all of which are recorded."""

    def make(loaded: LoadedModel, most: int, kv_cache_tokens: int, prefix_cache_tokens: int):
        limits = Limits(CONTEXT, kv_cache_tokens)
        runner = paged_runner(loaded.model, limits, most, prefix_cache_tokens)
        recorder = Again()
        runner.record(recorder, 1e9, lambda _: None)
        monkeypatch.setattr(native, "make_runner", lambda *_: (runner, limits))
        return NativeEngine(loaded, max_running=most, prefix_cache_tokens=prefix_cache_tokens), runner, recorder

    return make


async def _run(engine: NativeEngine, request: EngineRequest) -> list[Event]:
    return [event async for event in engine.generate(request)]


def _tokens(events: list[Event]) -> list[int]:
    return [p.token_id for e in events if isinstance(e, Delta) for p in e.logprobs]


def _is_as_it_was(runner: PagedRunner) -> bool:
    cache = runner._cache
    return cache.sequences == 0 and cache.memory.free * PAGE_TOKENS + cache.kept >= cache.memory.pages * PAGE_TOKENS


@pytest.mark.parametrize(("most", "piece"), [(1, 512), (5, 64), (12, 7), (12, 512)])
async def test_replies_are_what_transformers_says(  # noqa: PLR0917 - fixtures
    family, references, ask: Ask, start, agreement, most: int, piece: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prefill_budget, "MOST_TOKENS", piece)
    # Room for some of them only: the others wait.
    engine, runner, recorder = start(family.loaded, most, 3 * CONTEXT, 0)
    requests = [ask(r.prompt, max_tokens=MOST, logprobs=0) for r in references]
    replies = await asyncio.gather(*(_run(engine, request) for request in requests))
    await engine.close()
    for events, reference in zip(replies, references, strict=True):
        agreement.check(_tokens(events), reference)
    assert agreement.near_ties <= 1
    assert recorder.replayed > MOST
    assert _is_as_it_was(runner)


async def test_a_prefix_of_any_length_is_reused_and_shared(family, refer, ask: Ask, start, agreement):
    engine, runner, _ = start(family.loaded, 4, 4 * CONTEXT, 2000)
    dice = torch.Generator().manual_seed(5)
    history: tuple[int, ...] = tuple(torch.randint(64, (37,), generator=dice).tolist())
    computed = 0
    for _ in range(4):
        events = await _run(engine, ask(history, max_tokens=13, logprobs=0, cache_key="c"))
        agreement.check(_tokens(events), refer(family.oracle, history, 13))
        end = events[-1]
        assert isinstance(end, Finished)
        assert end.cached_tokens == computed
        computed = len(history) + 12
        history = (*history, *_tokens(events), *torch.randint(64, (9,), generator=dice).tolist())
    # Several at once part from it within a page, and write on beside one another.
    parting = [(*history[: 40 + n], (history[40 + n] + 1) % 64, *history[41 + n :]) for n in (0, 3, 8)]
    requests = [ask(prompt, max_tokens=13, logprobs=0, cache_key="c") for prompt in parting]
    for prompt, events in zip(parting, await asyncio.gather(*(_run(engine, r) for r in requests)), strict=True):
        agreement.check(_tokens(events), refer(family.oracle, prompt, 13))
        assert isinstance(events[-1], Finished)
        assert events[-1].cached_tokens >= 40
    assert agreement.near_ties == 0
    await engine.close()
    assert _is_as_it_was(runner)


async def test_replies_that_are_cancelled_give_their_pages_back(tiny: LoadedModel, ask: Ask, start):
    engine, runner, _ = start(tiny, 6, 3 * CONTEXT, 700)
    dice = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 200, (60,), generator=dice).tolist()
    asked = [
        asyncio.ensure_future(_run(engine, ask(tuple(range(n % 60)) + (1,) * n, max_tokens=30, cache_key=f"{n % 7}")))
        for n in lengths
    ]
    for place, task in enumerate(asked):
        if place % 3:
            await asyncio.wait([asked[place - 1]], timeout=0)
            for _ in range(place):
                await asyncio.sleep(0)
            task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    # Whoever was cancelled is forgotten at the next step, which somebody else must ask for.
    await _run(engine, ask((1, 2, 3), max_tokens=3))
    await engine.close()
    assert runner._cache.sequences == 0
    held = runner._cache.memory.pages - runner._cache.memory.free
    assert 0 < held * PAGE_TOKENS <= runner._cache.kept <= 700
    assert min(runner._cache.memory._holders) == 0


def test_rows_without_a_sequence_change_nothing_of_the_others(family):
    def logits(rows: int) -> torch.Tensor:
        runner = paged_runner(family.loaded.model, Limits(CONTEXT, 2 * CONTEXT), 8, 0)
        pages = np.array(runner._cache.memory.take(CONTEXT // PAGE_TOKENS))
        prompt = Piece([n * 7 % 64 for n in range(90)], 0, pages)
        runner._decode_steps.run(StepShape(1, 128, 16), [prompt])
        return runner._decode_steps.run(StepShape(rows, 1, 16), [Piece([5], 90, pages)]).clone()

    assert torch.equal(logits(1).argmax(-1), logits(8).argmax(-1))
    torch.testing.assert_close(logits(1), logits(8), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_recorded_is_told_once_and_computed_all_the_same(family):
    runner = paged_runner(family.loaded.model, Limits(CONTEXT, 2 * CONTEXT), 8, 0)
    with capture_logs() as told:
        runner.record(Broken(), 1e9, lambda _: None)
    assert sum("cannot be recorded" in line["event"] for line in told) == 1
    assert "Traceback" not in str(told)
    assert runner._decode_steps.shapes == (StepShape(1, 1, 16), StepShape(2, 1, 16))
    pages = np.array(runner._cache.memory.take(2))
    for shape in (StepShape(1, 1, 16), StepShape(8, 1, 16)):
        assert torch.isfinite(runner._decode_steps.run(shape, [Piece([5], 0, pages)])).all()


def test_recording_ends_when_its_time_is_up_and_tells_how_far_it_is(family):
    runner = paged_runner(family.loaded.model, Limits(CONTEXT, 4 * CONTEXT), 8, 0)
    told: list[str] = []
    runner.record(Again(), 0.0, told.append)
    assert (runner._decode_steps.shapes, told) == ((), [])
    runner.record(Again(), 1e9, told.append)
    assert told[0] == "recording decode steps: 0 of 8"
    assert len(runner._decode_steps.shapes) == 8


def _logits(runner: PagedRunner) -> torch.Tensor:
    pages = np.array(runner._cache.memory.take(6))
    runner._decode_steps.run(StepShape(1, 128, 16), [Piece([n * 7 % 64 for n in range(90)], 0, pages)])
    return runner._decode_steps.run(StepShape(4, 1, 16), [Piece([5], 90, pages)]).clone()


def test_fused_operations_compute_the_same(family, monkeypatch: pytest.MonkeyPatch):
    # As torch takes them apart, but without the compiler that puts them together.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    runner = paged_runner(family.loaded.model, Limits(CONTEXT, 2 * CONTEXT), 8, 0)
    plain = _logits(runner)
    runner.fuse()
    assert runner._decoder._before_attention != runner._decoder._compute_before
    fused = _logits(runner)
    runner._decoder.unfuse()
    torch.testing.assert_close(fused, plain)


def test_what_cannot_be_fused_is_told_once_and_computed_all_the_same(family, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", lambda _: fail)
    runner = paged_runner(family.loaded.model, Limits(CONTEXT, 2 * CONTEXT), 8, 0)
    with capture_logs() as told:
        runner.fuse()
    assert sum("cannot be fused" in line["event"] for line in told) == 1
    assert "Traceback" not in str(told)
    assert torch.isfinite(_logits(runner)).all()
