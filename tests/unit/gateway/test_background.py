"""Work in the background: one piece at a time, the newest of its kind, and no failure ends it."""

import asyncio

from services.gateway.background import BackgroundWork
from services.rpc.errors import Unavailable


async def test_work_is_done_one_piece_after_another_and_a_newer_piece_takes_an_older_one_s_place():
    work, done, go_on = BackgroundWork(), [], asyncio.Event()
    running = 0

    def piece(name: str):
        async def run() -> None:
            nonlocal running
            running += 1
            assert running == 1
            await go_on.wait()
            running -= 1
            done.append(name)

        return run

    work.offer("a", piece("a1"))
    await asyncio.sleep(0)
    for key, name in (("a", "a2"), ("b", "b1"), ("a", "a3")):
        work.offer(key, piece(name))
    go_on.set()
    await work.settle()
    assert done == ["a1", "a3", "b1"]


async def test_a_piece_that_fails_does_not_keep_others_from_being_done():
    work, done = BackgroundWork(), []

    async def refused() -> None:
        raise Unavailable("The database cannot be read now.")

    async def broken() -> None:
        raise ValueError("text of a conversation")

    async def fine() -> None:
        done.append("fine")

    for piece in (refused, broken, fine):
        work.offer(piece, piece)
    await work.settle()
    assert done == ["fine"]


async def test_a_stop_drops_what_is_under_way_and_what_waits_and_takes_nothing_more():
    work, done = BackgroundWork(), []

    async def endless() -> None:
        done.append("begun")
        await asyncio.Event().wait()

    async def never() -> None:
        done.append("never")

    work.offer("a", endless)
    work.offer("b", never)
    await asyncio.sleep(0)
    await work.stop()
    work.offer("c", never)
    await work.settle()
    assert done == ["begun"]


async def test_where_too_much_waits_the_oldest_is_dropped():
    work, done = BackgroundWork(), []

    def piece(number: int):
        async def run() -> None:
            done.append(number)

        return run

    for number in range(1002):
        work.offer(number, piece(number))
    await work.settle()
    assert done == list(range(2, 1002))
