"""What the service deletes and looks for by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.memory.conversation import ConversationDraft
from services.memory.housekeeping import Housekeeping

DAY_NS = 86_400_000_000_000


class Queue:
    """Counts how often it was told to look."""

    def __init__(self):
        self.told = asyncio.Event()

    def wake(self):
        self.told.set()


@pytest.fixture
async def keep(desk):
    """Starts housekeeping that keeps conversations for so many days, or for good."""
    started = []

    def start(days=None, store=None):
        started.append(Housekeeping(store or desk.store, Queue(), days))
        return started[-1]

    yield start
    for each in started:
        await each.close()


async def test_what_has_expired_is_deleted_without_anybody_asking(desk, keep, new_write):
    await desk.store.create_conversation(ConversationDraft("", "", time.time_ns() - 1), new_write())
    stays = await desk.conversation()
    housekeeping = keep()
    await asyncio.wait_for(housekeeping._queue.told.wait(), 30)
    with desk.store._write_engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT id FROM conversations").scalars().all() == [stays.id]


async def test_conversations_are_kept_for_so_many_days_after_the_last_write(desk, keep, monkeypatch):
    quiet, written = await desk.conversation(), await desk.conversation()
    now = time.time_ns()
    monkeypatch.setattr("services.memory.housekeeping.time.time_ns", lambda: now + 29 * DAY_NS)
    housekeeping = keep(30)
    assert await housekeeping.sweep(unwritten=True) == 0
    monkeypatch.setattr("services.memory.store.conversation_rows.time.time_ns", lambda: now + 29 * DAY_NS)
    await desk.say(written.id, "again")
    monkeypatch.setattr("services.memory.housekeeping.time.time_ns", lambda: now + 31 * DAY_NS)
    assert await housekeeping.sweep(unwritten=False) == 0
    assert await housekeeping.sweep(unwritten=True) == 1
    assert await desk.store.conversation_ids("ann") == [written.id]
    assert quiet.id != written.id


async def test_without_a_limit_nothing_goes_by_age(desk, keep, monkeypatch):
    await desk.conversation()
    monkeypatch.setattr("services.memory.housekeeping.time.time_ns", lambda: time.monotonic_ns() + 10**18 * 9)
    assert await keep(None).sweep(unwritten=True) == 0


async def test_a_failure_is_met_by_trying_again(desk, keep, monkeypatch):
    monkeypatch.setattr("services.memory.housekeeping._LOOK_SECONDS", 0.01)
    monkeypatch.setattr("services.memory.housekeeping._SWEEP_EVERY", 1)

    class Failing:
        tries = 0

        async def remove_expired(self, _since):
            self.tries += 1
            if self.tries == 1:
                raise RuntimeError("once")
            return 0

    housekeeping = keep(store=Failing())
    await asyncio.wait_for(housekeeping._queue.told.wait(), 30)
    assert housekeeping._store.tries == 2
