"""Ten thousand requests given up at random moments: nothing of them stays in the engine."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import pytest

from services.inference.engine import prefill_budget
from services.inference.engine.mailbox import Mailbox
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import Delta, EngineRequest, Finished, FinishReason
from services.inference.engine.sampling import Sampler
from services.inference.engine.sequence import Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel

    Ask = Callable[..., EngineRequest]

CANCELS, AT_ONCE = 10_000, 24
PROMPTS = [tuple((7 * n + k) % 64 for n in range(length)) for k, length in enumerate((1, 3, 9, 40, 90, 150))]
MOST = 6
KV_CACHE_TOKENS = 6 * 256  # room for six of the eight that may run
PREFIX_TOKENS = 600


@pytest.fixture(params=["fp32", "int8"])
def tiniest(make_tiny: Callable, request: pytest.FixtureRequest) -> LoadedModel:
    tiny = make_tiny(
        "llama", weights=request.param, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32,
    )  # fmt: skip
    return tiny.loaded


class _Watch:
    """Looks at an engine before and after each of its steps, on its own thread."""

    def __init__(self, engine: NativeEngine) -> None:
        self.given_up: Counter[str] = Counter()
        """Requests given up, by where they were."""
        self.late = 0
        """Requests that a step found given up and left something of."""
        step = engine._steps._step

        def watched() -> None:
            gone = [s for s in engine._steps._scheduler.all if s.aborted]
            running = engine._steps._scheduler.running
            self.given_up.update(_place(s, running) for s in gone)
            step()
            left = engine._steps._scheduler.all
            cache = engine._steps._runner._cache
            self.late += sum(s in left or s.number in engine._steps._samplers or cache.holds(s) for s in gone)

        engine._steps._step = watched


def _place(sequence: Sequence, running: tuple[Sequence, ...]) -> str:
    if sequence not in running:
        return "waiting"
    return "replying" if sequence.generated else "reading"


def _objects() -> Counter[str]:
    gc.collect()
    kinds = (Sequence, Mailbox, Sampler)
    return Counter(type(o).__name__ for o in gc.get_objects() if type(o) in kinds)


async def _whole(engine: NativeEngine, request: EngineRequest) -> list[int]:
    events = [event async for event in engine.generate(request)]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.MAX_TOKENS
    return [p.token_id for event in events if isinstance(event, Delta) for p in event.logprobs]


async def _leave(engine: NativeEngine, request: EngineRequest, dice: random.Random) -> None:
    """Asks, and gives up: before anything came, after some tokens, or just when the last has come."""
    if dice.random() < 0.3:
        # As a call that is cancelled while it waits for its next event.
        task = asyncio.create_task(_whole(engine, request))
        for _ in range(dice.choice((0, 1, 2, 5, 20))):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return
    events_to_see = dice.randrange(MOST + 2)
    async with aclosing(engine.generate(request)) as events:
        if not events_to_see:
            return
        async for _ in events:
            events_to_see -= 1
            if not events_to_see:
                return


async def test_ten_thousand_cancels_leave_nothing_behind_and_each_is_let_go_of_by_the_next_step(
    tiniest: LoadedModel, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prefill_budget, "MOST_TOKENS", 32)
    engine = NativeEngine(
        tiniest, max_running=8, prefix_cache_tokens=PREFIX_TOKENS, kv_cache_tokens=KV_CACHE_TOKENS, draft_tokens=7
    )
    requests = [ask(prompt, max_tokens=MOST, logprobs=0) for prompt in PROMPTS]
    before = [await _whole(engine, request) for request in requests]
    objects = _objects()
    watch = _Watch(engine)

    async def leave_often(number: int) -> None:
        dice = random.Random(number)  # noqa: S311 - no secret
        for _ in range(number, CANCELS, AT_ONCE):
            request = EngineRequest(
                dice.choice(PROMPTS),
                requests[0].sampling,
                cache_key=dice.choice(("", "one", "two")),
                caller=f"{number}",
            )
            await _leave(engine, request, dice)

    await asyncio.gather(*(leave_often(number) for number in range(AT_ONCE)))
    # By the time that this one is through, a step has seen every other given up.
    assert [await _whole(engine, request) for request in requests] == before

    assert watch.late == 0
    assert watch.given_up.keys() == {"waiting", "reading", "replying"}
    assert min(watch.given_up.values()) > 300
    load = engine.load()
    assert (load.running, load.queued, load.kv_tokens_used) == (0, 0, 0)
    assert engine._steps._scheduler.all == ()
    assert engine._steps._scheduler._waiting._callers == {}
    assert not engine._steps._scheduler._prefilling
    assert engine._steps._samplers == {}
    cache = engine._steps._runner._cache
    assert cache.sequences == 0
    assert cache.reserved <= KV_CACHE_TOKENS
    assert cache.kept <= PREFIX_TOKENS
    async with asyncio.timeout(60):
        while _objects() != objects:  # the thread lets go of its last step's a moment after that has told its end
            await asyncio.sleep(0.01)
    await engine.close()
