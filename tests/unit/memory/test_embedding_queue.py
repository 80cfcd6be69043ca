"""Background embedding: its order, and who waits for it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import asynccontextmanager

import pytest

from services.memory.backoff import Backoff
from services.memory.embedder import EmbedderAway, FakeEmbedder
from services.memory.embedder.facts import EmbedderFacts
from services.memory.embedder.threads import EmbedderThreads
from services.memory.embedding_queue import EmbeddingQueue


class HeldEmbedder(FakeEmbedder):
    """Embeds messages only while it is let."""

    def __init__(self):
        super().__init__()
        self.let = threading.Event()
        self.asked = threading.Event()

    def embed_messages(self, texts):
        self.asked.set()
        self.let.wait()
        return super().embed_messages(texts)


class FailingOnceEmbedder(FakeEmbedder):
    """Fails at its first batch."""

    def __init__(self):
        super().__init__()
        self.failed = False

    def embed_messages(self, texts):
        if not self.failed:
            self.failed = True
            raise RuntimeError("out of memory")
        return super().embed_messages(texts)


class AwayEmbedder(FakeEmbedder):
    """Is away until it is let back."""

    def __init__(self):
        super().__init__()
        self.back = threading.Event()

    def embed_messages(self, texts):
        if not self.back.is_set():
            raise EmbedderAway("It is away.")
        return super().embed_messages(texts)


@asynccontextmanager
async def working(store, embedder, batch_size=8):
    thread = EmbedderThreads(embedder, batch_size)
    queue = EmbeddingQueue(store, thread, batch_size)
    try:
        yield queue
    finally:
        if isinstance(embedder, HeldEmbedder):
            embedder.let.set()
        await queue.close()
        await thread.close()


async def settle(desk, queue, seconds):
    """Waits as Ann's search does."""
    last = (await desk.standing("ann")).last_awaited
    return last is None or await queue.settle("ann", last, seconds)


async def test_what_waits_from_before_is_embedded_in_batches(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, *(str(i) for i in range(20)))
    embedder = FakeEmbedder()
    async with working(desk.store, embedder) as queue:
        assert await settle(desk, queue, 30)
    assert await desk.store.count_unembedded() == 0
    assert max(len(batch) for batch in embedder.batches) == 8
    assert sorted(int(text.split()[0]) for batch in embedder.batches for text in batch) == list(range(20))


async def test_a_search_does_not_wait_longer_than_it_is_told_to(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    async with working(desk.store, HeldEmbedder()) as queue:
        assert not await settle(desk, queue, 0.01)


async def test_who_searches_comes_before_the_backlog_of_others(desk):
    bobs, anns = await desk.conversation("bob"), await desk.conversation("ann")
    await desk.say(bobs.id, *(f"bob {i}" for i in range(40)), user_id="bob")
    await desk.say(anns.id, "ann")
    embedder = HeldEmbedder()
    async with working(desk.store, embedder) as queue:
        await asyncio.to_thread(embedder.asked.wait)
        settled = asyncio.create_task(settle(desk, queue, 30))
        while not queue._searches:
            await asyncio.sleep(0)
        embedder.let.set()
        assert await settled
        # The batch that was under way, then the searcher's.
        assert [text.split()[0] for text in embedder.batches[1]] == ["ann"]


async def test_messages_that_come_one_by_one_are_embedded_together_unless_somebody_searches(desk, monkeypatch):
    monkeypatch.setattr("services.memory.embedding_queue._GATHER_SECONDS", 3600)
    talk = await desk.conversation()
    embedder = FakeEmbedder()
    async with working(desk.store, embedder) as queue:
        await desk.say(talk.id, "0")
        queue.wake()
        async with asyncio.timeout(30):
            while not queue._wanted._waiters:
                await asyncio.sleep(0)
        for number in range(1, 6):
            await desk.say(talk.id, str(number))
            queue.wake()
        assert await settle(desk, queue, 30)
    assert [len(batch) for batch in embedder.batches] == [1, 5]


async def test_a_failure_is_tried_again(desk, monkeypatch):
    monkeypatch.setattr("services.memory.embedding_queue._RETRY_SECONDS", 0)
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    embedder = FailingOnceEmbedder()
    async with working(desk.store, embedder) as queue:
        assert await settle(desk, queue, 30)
    assert embedder.failed


async def log_of_ann(desk, embedder):
    return await desk.vectors_after("ann", EmbedderFacts.of(embedder).id, 0, 100)


async def test_while_the_embedder_is_away_messages_have_their_words_and_a_vector_once_it_is_back(desk, monkeypatch):
    monkeypatch.setattr(Backoff, "seconds", lambda _, at_least=None: 0.01)
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two")
    embedder = AwayEmbedder()
    async with working(desk.store, embedder) as queue:
        # Whether the search came before the first try or after it, it does not wait its 600 seconds.
        assert await asyncio.wait_for(settle(desk, queue, 600), 60)
        await desk.say(talk.id, "three")
        assert await asyncio.wait_for(settle(desk, queue, 600), 60)
        assert queue.progress.problem == "It is away."
        log = await log_of_ann(desk, embedder)
        assert (log.stored.tolist(), (log.term_counts > 0).all()) == ([False] * 3, True)
        statistics = await desk.store.statistics(0)
        assert (statistics.pending, statistics.vectors) == (3, ())
        assert not await desk.store.user_faults("ann", EmbedderFacts.of(embedder).id, embedder.dimension)
        embedder.back.set()
        while await desk.store.count_unembedded() or queue.progress.problem:
            await asyncio.sleep(0.01)
        assert await settle(desk, queue, 600)
    log = await log_of_ann(desk, embedder)
    assert sorted(log.message_ids.tolist()) == [1, 2, 3]
    assert log.stored.all()
    assert len(log.vectors) == 3


async def test_a_try_that_takes_long_keeps_nothing_from_being_found_by_its_words(desk, monkeypatch):
    class SilentEmbedder(AwayEmbedder):
        def __init__(self):
            super().__init__()
            self.tries = 0
            self.tried_again = threading.Event()

        def embed_messages(self, texts):
            self.tries += 1
            if self.tries > 1:
                self.tried_again.set()
                self.back.wait(60)
            return super().embed_messages(texts)

    monkeypatch.setattr(Backoff, "seconds", lambda _, at_least=None: 0.01)
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    embedder = SilentEmbedder()
    async with working(desk.store, embedder) as queue:
        await asyncio.to_thread(embedder.tried_again.wait, 60)
        await desk.say(talk.id, "two")
        assert await asyncio.wait_for(settle(desk, queue, 600), 60)
        assert len(await log_of_ann(desk, embedder)) == 2
        embedder.back.set()
        while await desk.store.count_unembedded():
            await asyncio.sleep(0.01)


async def test_words_that_cannot_be_stored_are_tried_again(desk, monkeypatch):
    monkeypatch.setattr("services.memory.embedding_queue._RETRY_SECONDS", 0)
    failures = iter([RuntimeError("disk full")])
    put_words = desk.store.put_words

    async def put_words_later(terms_of):
        for failure in failures:
            raise failure
        await put_words(terms_of)

    monkeypatch.setattr(desk.store, "put_words", put_words_later)
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    async with working(desk.store, AwayEmbedder()) as queue:
        assert await settle(desk, queue, 60)
    assert next(failures, None) is None


def test_waits_double_up_to_a_limit_begin_anew_after_a_success_and_heed_what_was_asked_for():
    backoff = Backoff()
    waits = [backoff.seconds() for _ in range(12)]
    assert 0.25 <= waits[0] <= 0.5
    assert all(wait <= 15 for wait in waits)
    assert waits[-1] >= 7.5
    assert backoff.seconds(at_least=60) == 60
    backoff.succeeded()
    assert backoff.seconds() <= 0.5


async def test_much_text_is_embedded_in_smaller_groups(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, "x" * 9_000, "y" * 5_000, "z" * 5_000, "a", "b")
    embedder = FakeEmbedder()
    async with working(desk.store, embedder) as queue:
        assert await settle(desk, queue, 30)
    sizes = [[len(text) for text in batch] for batch in embedder.batches]
    assert all(len(batch) == 1 or sum(batch) <= 8_000 for batch in sizes)
    assert sum(len(batch) for batch in sizes) == 5


async def test_tokens_are_counted_for_each_call_by_itself_whatever_is_embedded_meanwhile():
    embedder = HeldEmbedder()
    thread = EmbedderThreads(embedder, 100)
    first = asyncio.ensure_future(thread.embed_messages(["held"]))
    await asyncio.to_thread(embedder.asked.wait)
    others = [thread.embed_messages(["in between"]), thread.embed_counted(["one two", "three"])]
    waiting = asyncio.gather(first, *others, thread.embed_counted(["four"]), thread.embed_messages(["after"]))
    asyncio.get_running_loop().call_soon(embedder.let.set)  # once all of them are queued
    _, _, many, one, after = await waiting
    assert (many.tokens, one.tokens) == (3, 1)
    assert (many.rows == FakeEmbedder().embed_messages(["one two", "three"])).all()
    assert (after == FakeEmbedder().embed_messages(["after"])).all()
    await thread.close()


async def test_a_query_does_not_wait_for_messages_that_are_being_embedded():
    embedder = HeldEmbedder()
    thread = EmbedderThreads(embedder, 8)
    messages = asyncio.ensure_future(thread.embed_messages(["held"]))
    await asyncio.to_thread(embedder.asked.wait)
    row = await asyncio.wait_for(thread.embed_query("at once"), 30)
    assert not messages.done()
    embedder.let.set()
    assert (row == FakeEmbedder().embed_queries(["at once"])[0]).all()
    await messages
    await thread.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
async def test_messages_give_way_to_queries_on_busy_processors():
    class PriorityEmbedder(FakeEmbedder):
        def embed_messages(self, texts):
            priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().embed_messages(texts)

        def embed_queries(self, texts):
            priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().embed_queries(texts)

    priorities = []
    thread = EmbedderThreads(PriorityEmbedder(), 8)
    await thread.embed_query("one")
    await thread.embed_messages(["two"])
    await thread.close()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities == [own, min(own + 10, 19)]


async def test_a_closed_embedder_refuses(desk):
    thread = EmbedderThreads(FakeEmbedder(), 4)
    await thread.close()
    with pytest.raises(Exception, match="stopping"):
        await thread.embed_query("one")
