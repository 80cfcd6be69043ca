"""Where the compiled step has its sequences' keys and values, and what of them the next ones begin with."""

from __future__ import annotations

import asyncio
import mmap
import resource
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from services.inference.engine import kv_buffer
from services.inference.engine.kernels.attention_shape import BLOCK, TILE
from services.inference.engine.kv_buffer import BufferShape, KVBuffer
from services.inference.engine.mailbox import Mailbox
from services.inference.engine.sequence import Sequence
from services.inference.engine.sequence_buffers import SequenceBuffers
from services.inference.engine.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.inference.engine.protocol import EngineRequest

    Ask = Callable[..., EngineRequest]

SHAPE = BufferShape(layers=2, heads=2, block_bytes=mmap.PAGESIZE // 4)
"""A page of memory holds 64 tokens of a head."""
VOCABULARY = Vocabulary(Tokenizer(models.WordLevel({"a": 0})))
CONTEXT = 1000
MOST_RUNNING, MOST_KEPT = 2500, 1500


@dataclass
class Runner:
    """Computes a token's number as its keys and values, and checks that those of all before it are there."""

    buffers: SequenceBuffers = field(
        default_factory=lambda: SequenceBuffers(
            SHAPE, context_tokens=CONTEXT, kv_cache_tokens=MOST_RUNNING, prefix_cache_tokens=MOST_KEPT
        )
    )

    def begin(self, request: EngineRequest) -> Sequence | None:
        sequence = Sequence(request, Mailbox(), VOCABULARY)
        cached = self.buffers.open(sequence)
        assert self.buffers.reserved <= MOST_RUNNING
        if cached is None:
            return None
        assert cached < len(request.prompt)
        sequence.computed = sequence.cached = cached
        self.check(sequence)
        return sequence

    def compute(self, sequence: Sequence) -> None:
        self.buffers.look_ahead(sequence, sequence.computed, len(sequence.tokens))
        data = _numbers(self.buffers.buffer(sequence))
        for place in range(sequence.computed, len(sequence.tokens)):
            data[:, :, place // BLOCK, place % BLOCK] = sequence.tokens[place]
        sequence.computed = len(sequence.tokens)

    def end(self, sequence: Sequence) -> None:
        self.check(sequence)
        self.buffers.close(sequence)
        assert self.buffers.kept <= MOST_KEPT

    def check(self, sequence: Sequence) -> None:
        data = _numbers(self.buffers.buffer(sequence)).flatten(2)
        wanted = torch.tensor(sequence.tokens[: sequence.computed])
        assert bool((data[:, :, : sequence.computed] == wanted).all())

    def turn(self, request: EngineRequest) -> Sequence:
        """Begins a request, computes it and ends it."""
        sequence = self.begin(request)
        assert sequence is not None
        self.compute(sequence)
        self.end(sequence)
        return sequence


def _numbers(buffer: KVBuffer) -> torch.Tensor:
    """Returns room for a number a token, in the token's block: shape `(layers, heads, blocks, BLOCK)`."""
    return buffer.data.view(torch.int32)[..., :BLOCK]


@pytest.fixture
def ask(ask: Ask) -> Ask:
    return lambda prompt, **more: ask(tuple(prompt), **more)


ANNA = {"cache_key": "anna"}


async def test_the_next_turn_writes_on_in_the_memory_of_the_last(ask: Ask):
    runner = Runner()
    first = runner.begin(ask(range(200), max_tokens=50, **ANNA))
    runner.compute(first)
    place = runner.buffers.buffer(first).data.data_ptr()
    runner.end(first)
    assert (runner.buffers.reserved, runner.buffers.kept) == (0, 256)
    second = runner.begin(ask(range(220), max_tokens=30, **ANNA))
    assert second.cached == 200
    assert runner.buffers.buffer(second).data.data_ptr() == place
    assert (runner.buffers.reserved, runner.buffers.kept) == (256, 0)


async def test_a_conversation_that_grows_is_never_moved(ask: Ask):
    runner = Runner()
    length = 100
    sequence = runner.turn(ask(range(length), max_tokens=50, **ANNA))
    places = set()
    while length < CONTEXT:
        length += 100
        sequence = runner.begin(ask(range(length), max_tokens=50, **ANNA))
        assert sequence.cached == length - 100
        assert runner.buffers.reserved == min(SHAPE.room(length + 50), CONTEXT)
        places.add(runner.buffers.buffer(sequence).data.data_ptr())
        runner.compute(sequence)
        runner.end(sequence)
        # A page of each head may have been looked ahead for.
        assert 0 <= runner.buffers.kept - min(SHAPE.room(length), CONTEXT) <= SHAPE.room(1)
    assert len(places) == 1


@pytest.fixture
def overcommit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Has the system say whether it sets memory aside for addresses; nothing until it is called."""
    file = tmp_path / "overcommit_memory"
    monkeypatch.setattr(kv_buffer, "_OVERCOMMIT", file)
    return file.write_text


@pytest.mark.parametrize(
    ("context", "rule", "capacity"), [(1 << 40, "0", 250), (CONTEXT, "2", 500)], ids=["too many", "not free"]
)
async def test_without_addresses_for_all_a_conversation_takes_what_it_has_along(
    ask: Ask, overcommit: Callable[[str], object], context: int, rule: str, capacity: int
):
    overcommit(f"{rule}\n")
    runner = Runner(
        SequenceBuffers(SHAPE, context_tokens=context, kv_cache_tokens=MOST_RUNNING, prefix_cache_tokens=MOST_KEPT)
    )
    first = runner.begin(ask(range(200), max_tokens=50, **ANNA))
    assert runner.buffers.buffer(first).capacity == capacity
    runner.compute(first)
    runner.end(first)
    second = runner.begin(ask(range(700), max_tokens=100, **ANNA))
    assert second.cached == 200
    runner.compute(second)
    runner.end(second)
    assert runner.begin(ask(range(720), max_tokens=10, **ANNA)).cached == 700


@pytest.mark.usefixtures("overcommit")
def test_a_system_that_says_nothing_gives_addresses_freely(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert kv_buffer.addresses_are_free()
    monkeypatch.setattr("sys.platform", "win32")
    assert not kv_buffer.addresses_are_free()


@pytest.mark.parametrize("block", [80, mmap.PAGESIZE // 4, 4 * mmap.PAGESIZE])
def test_heads_begin_with_a_page_and_end_with_a_tile(block: int):
    data = KVBuffer(BufferShape(layers=2, heads=2, block_bytes=block), 20).data
    assert all(head.data_ptr() % mmap.PAGESIZE == 0 for layer in data for head in layer)
    assert data.shape[2] % (TILE // BLOCK) == 0
    assert int(data.sum()) == 0


async def test_what_was_written_counts_as_long_as_it_takes_up_memory(ask: Ask):
    runner = Runner()
    runner.turn(ask(range(600), max_tokens=10, **ANNA))
    anew = runner.begin(ask([*range(400), 7], max_tokens=10, **ANNA))
    assert anew.cached == 400
    assert runner.buffers.reserved == SHAPE.room(600)
    runner.compute(anew)
    runner.end(anew)
    assert runner.buffers.kept == SHAPE.room(600)


async def test_a_reply_made_anew_begins_where_the_other_did(ask: Ask):
    runner = Runner()
    first = runner.begin(ask(range(200), max_tokens=50, **ANNA))
    runner.compute(first)
    first.tokens.extend(range(500, 540))
    runner.compute(first)
    runner.end(first)
    assert runner.begin(ask(range(200), max_tokens=50, **ANNA)).cached == 199


async def test_what_merely_begins_alike_leaves_the_rest_to_others(ask: Ask):
    runner = Runner()
    runner.turn(ask(range(250), max_tokens=6, **ANNA))
    other = runner.begin(ask([*range(40), 7, 7, 7], max_tokens=6, **ANNA))
    assert other.cached == 40
    runner.compute(other)
    assert runner.begin(ask(range(255), max_tokens=1, **ANNA)).cached == 250


async def test_what_a_running_reply_has_computed_is_shared_with_its_own_kind_alone(ask: Ask):
    runner = Runner()
    with_system = {"system_key": "s", "system_tokens": 30}
    running = runner.begin(ask(range(100), **ANNA, **with_system))
    runner.compute(running)
    assert runner.begin(ask(range(90), **ANNA)).cached == 89
    assert runner.begin(ask(range(90), cache_key="boris", **with_system)).cached == 30
    assert runner.begin(ask(range(90), cache_key="clara")).cached == 0
    assert runner.begin(ask(range(90))).cached == 0


async def test_what_was_only_reserved_is_not_kept(ask: Ask):
    runner = Runner()
    runner.turn(ask(range(100), max_tokens=800, **ANNA))
    assert SHAPE.room(100) <= runner.buffers.kept <= SHAPE.room(100) + SHAPE.room(1)
    assert runner.begin(ask(range(120), **ANNA)).cached == 100


async def test_a_sequence_without_room_waits_until_others_end(ask: Ask):
    runner = Runner()
    running = [runner.begin(ask(range(10), max_tokens=900)) for _ in range(2)]
    assert runner.begin(ask(range(10), max_tokens=900)) is None
    assert runner.begin(ask(range(10), max_tokens=200)) is not None
    runner.compute(running[0])
    runner.end(running[0])
    assert runner.begin(ask(range(10), max_tokens=900)) is not None


@dataclass(frozen=True)
class Turn:
    key: int
    system: int
    shared: int
    prompt: int
    reply: int
    ends_at_once: bool


TURNS = st.builds(
    Turn,
    key=st.integers(0, 2),
    system=st.integers(0, 2),
    shared=st.integers(0, 60),
    prompt=st.integers(1, 500),
    reply=st.integers(1, 400),
    ends_at_once=st.booleans(),
)


def test_whatever_comes_and_goes_finds_the_tokens_it_is_told_of(ask: Ask):
    async def play(turns: list[Turn]) -> None:
        runner = Runner()
        under_way: list[Sequence] = []
        for number, turn in enumerate(turns):
            shared = min(turn.shared, turn.prompt)
            sequence = runner.begin(
                ask(
                    [turn.system] * shared + [number % 3] * (turn.prompt - shared),
                    max_tokens=turn.reply,
                    cache_key=str(turn.key or ""),
                    system_key=str(turn.system or ""),
                    system_tokens=shared,
                )
            )
            if sequence is None:
                continue
            runner.compute(sequence)
            under_way.append(sequence)
            for running in under_way:
                if running.generated < running.request.sampling.max_tokens:
                    running.tokens.append(9)
                    runner.compute(running)
                runner.check(running)
            if turn.ends_at_once:
                runner.end(under_way.pop(0))
        for running in under_way:
            runner.end(running)
        assert runner.buffers.reserved == 0

    @given(st.lists(TURNS, max_size=20))
    def holds(turns: list[Turn]) -> None:
        asyncio.run(play(turns))

    holds()


def _pages_taken() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_a_growing_reply_never_waits_for_a_page_of_every_head():
    shape = BufferShape(layers=50, heads=4, block_bytes=mmap.PAGESIZE // 4)
    buffer = KVBuffer(shape, 640)
    data = buffer.data.numpy()
    data[:, :, :3] = 7
    ahead, at_once = [], []
    for place in range(40, 600):
        before = _pages_taken()
        buffer.look_ahead(place, place + 1, 600)
        between = _pages_taken()
        data[:, :, place // BLOCK, place % BLOCK] = 9
        ahead.append(between - before)
        at_once.append(_pages_taken() - between)
    # 200 heads need a page each every 64 tokens. The first pages may come too late, others are not of keys and values.
    assert max(ahead) < 20
    assert max(at_once[80:]) < 20
    assert (data[:, :, 600 // BLOCK - 1, 600 % BLOCK - 1] == 9).all()
    assert (data[:, :, 0] == 7).all()
    # And none for tokens that never come.
    assert buffer.room == shape.room(600)
