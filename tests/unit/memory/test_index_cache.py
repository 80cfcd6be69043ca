"""Indexes in memory follow the database, and stay within their bytes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import pytest

from services.memory.embedder import FakeEmbedder
from services.memory.index_cache import IndexCache
from services.memory.index_query import IndexQuery
from services.memory.message import MessageFilter
from services.memory.terms import RECIPE
from services.rpc.errors import ConversationNotFound, Unavailable

EMBEDDER = FakeEmbedder(dimension=16)


class CountingStore:
    """Passes on to a store, and counts the vectors that it gave, and how often it was asked for what else."""

    def __init__(self, store):
        self.store = store
        self.loaded = 0
        self.asked = 0
        self.looked_through = 0

    async def logged_messages(self, user_id):
        self.looked_through += 1
        return await self.store.logged_messages(user_id)

    async def read_log(self, user_id, wanted, take):
        self.asked += 1

        def counted(standing, stretch):
            self.loaded += len(stretch)
            return take(standing, stretch)

        return await self.store.read_log(user_id, wanted, counted)


async def fill(desk, user_id, *texts):
    talk = await desk.conversation(user_id)
    await desk.say(talk.id, *texts, user_id=user_id)
    await desk.embed_all(EMBEDDER)
    return talk


async def found(cache, user_id, text):
    async with cache.up_to_date(user_id) as index:
        if index is None:
            return None
        return len(index.search(IndexQuery(EMBEDDER.embed_queries([text])[0], (), 100)))


@pytest.fixture
def cache_of(desk):
    return lambda max_bytes=1 << 20: IndexCache(CountingStore(desk.store), EMBEDDER.id, 16, max_bytes)


async def test_only_the_new_tail_is_loaded(desk, cache_of):
    cache = cache_of()
    talk = await fill(desk, "ann", "one", "two")
    assert await found(cache, "ann", "one") == 2
    await desk.say(talk.id, "three")
    await desk.embed_all(EMBEDDER)
    assert await found(cache, "ann", "one") == 3
    assert await found(cache, "ann", "one") == 3
    assert cache._store.loaded == 3


async def test_an_index_is_loaded_and_followed_by_one_read_each(desk, cache_of, new_write):
    cache = cache_of()
    gone = await fill(desk, "ann", "one", "two")
    for _ in range(2):
        assert await cache.load("ann") == await desk.standing("ann")
        await fill(desk, "ann", "three")
    assert (cache._store.asked, cache._store.loaded) == (2, 3)
    # What was known before somebody else brought the index further takes nothing back.
    known = (await desk.standing("ann")).log
    await desk.store.delete_conversation(gone.id, new_write())
    await cache.load("ann")
    async with cache.up_to_date("ann", known) as index:
        assert len(index) == 2


async def test_what_waits_to_be_embedded_is_told_and_another_users_conversation_is_none(desk, cache_of):
    cache = cache_of()
    talk = await fill(desk, "ann", "one")
    await desk.say(talk.id, "two")
    assert (await cache.load("ann", talk.id)).last_awaited is not None
    with pytest.raises(ConversationNotFound):
        await cache.load("bob", talk.id)
    assert cache.users() == ["ann"]


async def test_a_deletion_is_seen_by_every_cache_from_the_next_search_on(desk, cache_of, new_write):
    caches = [cache_of(), cache_of()]
    gone = await fill(desk, "ann", "one", "two")
    await fill(desk, "ann", "three")
    assert [await found(cache, "ann", "one") for cache in caches] == [3, 3]
    await desk.store.delete_conversation(gone.id, new_write())
    assert [await found(cache, "ann", "one") for cache in caches] == [1, 1]
    await desk.store.delete_user(new_write())
    assert [await found(cache, "ann", "one") for cache in caches] == [None, None]
    await fill(desk, "ann", "four", "five", "six")
    assert [await found(cache, "ann", "one") for cache in caches] == [3, 3]


async def test_after_a_deletion_nothing_that_stays_is_loaded_again(desk, cache_of, new_write):
    cache = cache_of()
    gone = await fill(desk, "ann", "one", "two")
    stays = await fill(desk, "ann", "three", "four", "five")
    assert await found(cache, "ann", "one") == 5
    before = cache.size
    await desk.store.delete_conversation(gone.id, new_write())
    await cache.follow_deletion("ann")
    assert cache.size < before
    assert await found(cache, "ann", "one") == 3
    await desk.say(stays.id, "six")
    await desk.embed_all(EMBEDDER)
    assert await found(cache, "ann", "one") == 4
    assert cache._store.loaded == 6


async def test_a_user_who_was_deleted_and_came_back_has_nothing_of_before(desk, cache_of, new_write):
    cache = cache_of()
    await fill(desk, "ann", "one", "two", "three")
    assert await found(cache, "ann", "one") == 3
    await desk.store.delete_user(new_write())
    await fill(desk, "ann", "four", "five")
    assert await found(cache, "ann", "one") == 2
    await desk.store.delete_user(new_write())
    await cache.follow_deletion("ann")
    assert (cache.users(), cache.size) == ([], 0)


async def test_an_index_that_cannot_follow_a_deletion_is_dropped(desk, cache_of, new_write, monkeypatch):
    cache = cache_of()
    gone = await fill(desk, "ann", "one")
    await fill(desk, "ann", "two")
    assert await found(cache, "ann", "one") == 2
    await desk.store.delete_conversation(gone.id, new_write())

    async def refuse(user_id, wanted, take):
        raise Unavailable("The database cannot be read now.")

    with monkeypatch.context() as broken:
        broken.setattr(cache._store, "read_log", refuse)
        await cache.follow_deletion("ann")
    assert (cache.users(), cache.size) == ([], 0)
    assert await found(cache, "ann", "one") == 1


async def test_a_known_place_of_the_log_spares_asking_for_it_only_where_the_index_is_there(desk, cache_of, new_write):
    cache = cache_of()
    talk = await fill(desk, "ann", "one")
    known = (await cache.load("ann")).log
    await desk.say(talk.id, "two")
    await desk.embed_all(EMBEDDER)
    async with cache.up_to_date("ann", known) as index:
        assert len(index) == 1
    newer = (await cache.load("ann")).log
    async with cache.up_to_date("ann", newer) as index:
        assert len(index) == 2
    await desk.store.delete_conversation(talk.id, new_write())
    await cache.follow_deletion("ann")
    async with cache.up_to_date("ann", newer) as index:
        assert len(index) == 0


async def test_a_very_large_index_is_held_in_lists_and_follows_what_comes_and_goes(
    desk, cache_of, new_write, monkeypatch
):
    monkeypatch.setattr("services.memory.index.LISTED_FROM", 8)
    cache = cache_of()
    gone = await fill(desk, "ann", *["word"] * 4)
    stays = await fill(desk, "ann", *["word"] * 8)
    everything = MessageFilter(start_ns=0)
    async with cache.up_to_date("ann") as index:
        assert not index.unfit
    await desk.store.delete_conversation(gone.id, new_write())
    await desk.say(stays.id, "word")
    await desk.embed_all(EMBEDDER)
    vector = EMBEDDER.embed_queries(["word"])[0]
    async with cache.up_to_date("ann") as index:
        assert len(index.search(IndexQuery(vector, (), 100, narrowing=everything))) == 9


async def test_what_is_embedded_anew_gets_its_vector_in_place_and_nothing_else_is_loaded_again(
    desk, cache_of, new_write, monkeypatch
):
    monkeypatch.setattr("services.memory.index.LISTED_FROM", 2)
    cache = cache_of()
    talk = await desk.conversation("ann")
    await desk.say(talk.id, "one", "two")
    await desk.embed_all(FakeEmbedder(dimension=16, id=f"other/{RECIPE}"))
    gone = await fill(desk, "ann", "three")
    await fill(desk, "ann", "four")

    async def similar() -> list[bool]:
        query = IndexQuery(EMBEDDER.embed_queries(["one"])[0], (), 100, narrowing=MessageFilter(start_ns=0))
        async with cache.up_to_date("ann") as index:
            return [one.similarity != 0 for one in sorted(index.search(query), key=lambda one: one.message_id)]

    assert await similar() == [False, False, True, True]
    await desk.store.delete_conversation(gone.id, new_write())
    await cache.follow_deletion("ann")
    assert await similar() == [False, False, True]
    await desk.store.queue_other_embedders(EMBEDDER.id)
    await desk.embed_all(EMBEDDER)
    assert await similar() == [True, True, True]
    assert (cache._store.loaded, cache._store.looked_through) == (4 + 2, 1)


async def test_the_least_recently_searched_are_dropped_to_stay_within_the_bytes(desk, cache_of):
    whole = cache_of()
    for user in ("ann", "bob", "cid"):
        await fill(desk, user, "one", "two")
    assert await found(whole, "ann", "one") == 2
    cache = cache_of(max_bytes=2 * whole.size)
    for user in ("ann", "bob", "ann", "cid"):
        assert await found(cache, user, "one") == 2
    assert cache.users() == ["ann", "cid"]
    assert cache.size == 2 * whole.size
    assert await found(cache, "bob", "one") == 2
    assert cache.users() == ["cid", "bob"]


async def test_making_room_looks_at_no_more_users_than_are_dropped(desk, cache_of):
    class Watched(OrderedDict):
        looked_at = 0

        def items(self):
            for item in super().items():
                Watched.looked_at += 1
                yield item

    whole = cache_of()
    users = [f"user {number}" for number in range(24)]
    for user in users:
        await fill(desk, user, "one")
    assert await found(whole, users[0], "one") == 1
    cache = cache_of(max_bytes=20 * whole.size)
    cache._slots = Watched()
    for user in users:
        assert await found(cache, user, "one") == 1
    assert cache.users() == users[4:]
    # One more each time, which shows that enough have gone.
    assert Watched.looked_at <= 2 * 4 + len(users)


async def test_an_index_larger_than_all_bytes_is_searched_all_the_same(desk, cache_of):
    cache = cache_of(max_bytes=1)
    await fill(desk, "ann", "one", "two")
    assert await found(cache, "ann", "one") == 2


async def test_users_without_vectors_take_no_place(cache_of):
    cache = cache_of()
    assert await found(cache, "nobody", "one") is None
    assert len(cache._slots) == 0


async def test_searches_at_once_load_an_index_once(desk, cache_of):
    cache = cache_of()
    await fill(desk, "ann", *["word"] * 50)
    assert await asyncio.gather(*(found(cache, "ann", "word") for _ in range(10))) == [50] * 10
    assert cache._store.loaded == 50


async def test_an_index_of_thousands_is_loaded_in_pages(desk, cache_of, monkeypatch):
    monkeypatch.setattr("services.memory.index_cache._PAGE", 7)
    cache = cache_of()
    await fill(desk, "ann", *["word"] * 21)
    assert await found(cache, "ann", "word") == 21
    await fill(desk, "ann", *["word"] * 5)
    assert await found(cache, "ann", "word") == 26


async def test_an_index_is_whole_until_its_user_writes_and_it_is_brought_up_to_date(desk, cache_of):
    cache = cache_of()
    cache.note_writing("ann")  # of whom nothing is held
    assert not cache.is_whole("ann")
    talk = await fill(desk, "ann", "one")
    assert await found(cache, "ann", "one") == 1
    assert cache.is_whole("ann")
    await desk.say(talk.id, "two")
    await desk.embed_all(EMBEDDER)
    cache.note_writing("ann")
    assert not cache.is_whole("ann")
    await cache.load("ann")
    assert cache.is_whole("ann")
