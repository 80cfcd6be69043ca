"""A lock is held by many who share it or by one alone, and is lost to nobody who is cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest

from services.memory.shared_lock import SharedLock


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_share_it_and_one_has_it_alone():
    lock, log, leave = SharedLock(), [], asyncio.Event()

    async def share(name: str) -> None:
        async with lock.shared():
            log.append(name)
            await leave.wait()

    async def own() -> None:
        async with lock.alone():
            log.append("alone")
            await leave.wait()

    tasks = [asyncio.ensure_future(one) for one in (share("a"), share("b"), own(), share("c"))]
    await settled()
    assert log == ["a", "b"]  # who came after the one who wants it alone waits as well
    assert lock.held
    leave.set()
    await asyncio.gather(*tasks)
    assert log == ["a", "b", "alone", "c"]
    assert not lock.held


@pytest.mark.parametrize("seed", range(5))
async def test_it_is_never_lost_and_never_held_by_two_who_must_not(seed):
    lock, chance, inside = SharedLock(), random.Random(seed), {"shared": 0, "alone": 0}  # noqa: S311 - not a secret
    holding: set[object] = set()

    async def use(kind: str) -> None:
        async with lock.alone() if kind == "alone" else lock.shared():
            inside[kind] += 1
            holding.add(asyncio.current_task())
            assert inside["alone"] == 0 or (inside["alone"], inside["shared"]) == (1, 0)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            inside[kind] -= 1

    tasks = []
    for _ in range(400):
        tasks.append(asyncio.ensure_future(use(chance.choice(["shared", "shared", "alone"]))))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            waiting = chance.choice(tasks)
            if not waiting.done() and waiting not in holding:
                waiting.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.exception() for task in tasks if not task.cancelled()].count(None) == len(holding)
    assert inside == {"shared": 0, "alone": 0}
    assert not lock.held


@pytest.mark.parametrize("waits_for", ["shared", "alone"])
@pytest.mark.parametrize("given", [False, True])
async def test_who_is_cancelled_while_waiting_keeps_nobody_waiting(waits_for, given):
    lock = SharedLock()
    wanted = lock.alone if waits_for == "alone" else lock.shared
    holder = lock.alone()
    await holder.__aenter__()

    async def wait() -> None:
        async with wanted():
            pass

    cancelled, next_one = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
    await settled()
    if given:
        # It is given in the same moment in which the one who waits is cancelled.
        await holder.__aexit__(None, None, None)
        cancelled.cancel()
    else:
        cancelled.cancel()
        await settled()
        await holder.__aexit__(None, None, None)
    await asyncio.wait_for(next_one, 1)
    await asyncio.gather(cancelled, return_exceptions=True)
    assert cancelled.cancelled()
    assert not lock.held
