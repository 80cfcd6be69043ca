"""The hand-over from the engine's thread to the event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.inference.engine.mailbox import Mailbox, Post
from services.inference.engine.protocol import Delta, EngineDied, Finished, FinishReason, Started, TokenLogprob

FINISHED = Finished(FinishReason.EOS, 1, 0, 1, 0.0, 0.0, 0.0)
STARTED = Started(0, 0.0)


async def test_deltas_that_were_not_taken_yet_are_merged_into_one():
    mailbox, post = Mailbox(), Post()
    post.put(mailbox, STARTED)
    for n in range(1000):
        post.put(mailbox, Delta(f"{n} ", 1, (TokenLogprob(n, b"x", -1.0),)))
    post.put(mailbox, FINISHED)
    post.deliver()
    assert await mailbox.get() == STARTED
    merged = await mailbox.get()
    assert isinstance(merged, Delta)
    assert merged.text == "".join(f"{n} " for n in range(1000))
    assert merged.token_count == 1000
    assert [p.token_id for p in merged.logprobs] == list(range(1000))
    assert await mailbox.get() == FINISHED


async def test_a_reader_that_keeps_up_gets_each_delta():
    mailbox, post = Mailbox(), Post()
    for text in "abc":
        post.put(mailbox, Delta(text, 1))
        post.deliver()
        assert await mailbox.get() == Delta(text, 1)


async def test_waiting_readers_are_woken_together_from_another_thread():
    mailboxes, post = [Mailbox() for _ in range(3)], Post()
    readers = [asyncio.create_task(mailbox.get()) for mailbox in mailboxes]
    await asyncio.sleep(0)

    def write() -> None:
        for mailbox in mailboxes:
            post.put(mailbox, STARTED)
        post.deliver()

    threading.Thread(target=write).start()
    assert await asyncio.gather(*readers) == [STARTED] * 3


async def test_a_lost_engine_is_told_after_what_had_arrived():
    mailbox = Mailbox()
    mailbox.add(Delta("half", 1))
    mailbox.fail(EngineDied())
    assert await mailbox.get() == Delta("half", 1)
    with pytest.raises(EngineDied):
        await mailbox.get()


def test_writing_to_a_reader_whose_loop_is_gone_is_harmless():
    async def make() -> Mailbox:
        return Mailbox()

    post = Post()
    post.put(asyncio.run(make()), STARTED)
    post.deliver()
