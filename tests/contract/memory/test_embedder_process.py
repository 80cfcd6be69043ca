"""The embedder in a process of its own: the same vectors, signals not meant for it, and what happens when it ends."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager

import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from services.memory.chosen_embedder import chosen_embedder
from services.memory.embedder import EmbedderAway, load_embedder
from services.memory.embedder.facts import EmbedderFacts
from services.memory.settings import MemorySettings
from services.rpc.errors import ShuttingDown
from services.rpc.settings import StartupError

_TEXTS = ["I grow tomatoes on the balcony.", "Я выращиваю помидоры.", "word " * 700]


@asynccontextmanager
async def running(**settings):
    """The embedder that settings name, in its process."""
    embedder = await chosen_embedder(MemorySettings(**settings))
    try:
        yield embedder
    finally:
        await embedder.close()


def children() -> list[psutil.Process]:
    """Embedders' processes of this one."""
    return [p for p in psutil.Process().children() if "services.memory.embedder_process" in p.cmdline()]


async def test_it_gives_what_the_embedder_gives_and_ends_when_closed():
    here = load_embedder("embedded", threads=1)
    async with running() as embedder:
        assert embedder.facts == EmbedderFacts.of(here)
        assert np.array_equal(await embedder.embed_messages(_TEXTS), here.embed_messages(_TEXTS))
        assert np.array_equal(await embedder.embed_query(_TEXTS[0]), here.embed_queries(_TEXTS[:1])[0])
        counted = await embedder.embed_counted(_TEXTS)
        assert counted.tokens == here.embed_counted(_TEXTS).tokens
        (child,) = children()
    assert not child.is_running()
    with pytest.raises(ShuttingDown):
        await embedder.embed_query("anything")


async def test_many_who_ask_at_once_get_each_their_own():
    async with running(embedding_batch_size=8) as embedder:
        texts = [f"message number {i}" for i in range(40)]
        alone = [(await embedder.embed_messages([text]))[0] for text in texts]
        together = await asyncio.gather(
            *(embedder.embed_messages([text]) for text in texts), *(embedder.embed_query(text) for text in texts)
        )
    for text, one, rows, query in zip(texts, alone, together[:40], together[40:], strict=True):
        assert one @ rows[0] > 0.999, text
        assert one @ query > 0.999, text


async def test_what_it_cannot_embed_is_told_and_the_next_is_embedded():
    async with running() as embedder:
        with pytest.raises(EmbedderAway, match=r"The embedder failed \(\w+Error\)"):
            await embedder.embed_messages(["half a character: \ud800"])
        assert (await embedder.embed_messages(["a text"])).shape == (1, 384)


async def test_signals_for_the_whole_group_leave_it_at_work():
    async with running() as embedder:
        (child,) = children()
        for number in (signal.SIGINT, signal.SIGTERM):
            child.send_signal(number)
            assert (await embedder.embed_query("still there")).shape == (384,)
        assert children() == [child]


async def test_it_is_started_again_where_it_was_killed():
    async with running() as embedder:
        before = await embedder.embed_query("tomatoes")
        (child,) = children()
        with capture_logs() as log:
            asked = asyncio.create_task(embedder.embed_messages(["word " * 5_000] * 32))
            await asyncio.sleep(0)
            child.kill()
            with pytest.raises(EmbedderAway, match="has ended and is being started again"):
                await asked
            with pytest.raises(EmbedderAway, match="has ended and is being started again"):
                await embedder.embed_query("tomatoes")
            while True:
                try:
                    again = await embedder.embed_query("tomatoes")
                    break
                except EmbedderAway:
                    await asyncio.sleep(0.05)
        assert np.array_equal(before, again)
        told = [(entry["log_level"], entry["event"], entry.get("status")) for entry in log]
        assert told == [
            ("error", "the embedder's process has ended", -signal.SIGKILL),
            ("info", "the embedder's process is back", None),
        ]


async def test_one_that_cannot_be_had_is_refused_with_the_reason():
    with pytest.raises(StartupError, match="there is no such folder"):
        await chosen_embedder(MemorySettings(embedder="/no/such/folder"))
    assert children() == []


async def test_a_start_that_is_given_up_leaves_nothing_running():
    starting = asyncio.create_task(chosen_embedder(MemorySettings()))
    while not (found := children()):
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not found[0].is_running()
