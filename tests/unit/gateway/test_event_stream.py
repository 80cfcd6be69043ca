"""Streams of server-sent events: their pings, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import Request

from services.gateway.openai_api.event_stream import as_event, stream_replies
from services.gateway.openai_api.replies import Replies
from services.gateway.openai_api.reply import Ended, Piece, ReplyEvent, Started
from services.rpc.errors import EngineLost

END = Ended("stop", 1, 0, 1)


async def sent(replies: Replies, on_ping: asyncio.Event | None = None) -> str:
    """Returns all that a client gets of a stream; `on_ping` is set once a ping is among it."""
    scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": []}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nothing comes")

    async def send(message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        parts.append(body)
        if on_ping is not None and body.startswith(b": ping"):
            on_ping.set()

    async def events() -> AsyncGenerator[bytes, None]:
        async for _, event in replies.events():
            if isinstance(event, Piece):
                yield as_event({"text": event.text})
        yield b"data: [DONE]\n\n"

    request = Request(scope, receive)
    await stream_replies(request, replies, events(), ping=0.001)(scope, receive, send)
    return b"".join(parts).decode()


async def test_pings_come_while_the_model_reads_a_long_prompt():
    pinged = asyncio.Event()

    async def reply() -> AsyncGenerator[ReplyEvent, None]:
        await pinged.wait()
        yield Started("m", 1, 0)
        yield Piece("да", 1)
        yield END

    async with asyncio.timeout(20):
        text = await sent(Replies([reply()]), pinged)
    assert text.index(": ping") < text.index('data: {"text":"да"}')
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(("failure", "code"), [(EngineLost("It stopped."), "engine_lost"), (KeyError("x"), "internal")])
async def test_a_fault_ends_a_stream_with_an_error_and_without_done(failure: Exception, code: str):
    async def reply() -> AsyncGenerator[ReplyEvent, None]:
        yield Started("m", 1, 0)
        yield Piece("a", 1)
        raise failure

    text = await sent(Replies([reply()]))
    assert f'"code":"{code}"' in text
    assert "[DONE]" not in text
    assert "KeyError" not in text


async def test_a_failure_before_the_first_event_is_raised_and_not_streamed():
    async def reply() -> AsyncGenerator[ReplyEvent, None]:
        raise EngineLost("It stopped.")
        yield END

    with pytest.raises(EngineLost):
        await Replies([reply()]).begin(20)


async def test_what_waits_for_its_turn_begins_without_an_event():
    go = asyncio.Event()

    async def reply() -> AsyncGenerator[ReplyEvent, None]:
        await go.wait()
        yield Started("m", 1, 0)
        yield END

    replies = Replies([reply()])
    await replies.begin(0.001)
    go.set()
    assert [event async for _, event in replies.events()] == [Started("m", 1, 0), END]


async def test_closing_lets_a_reply_do_what_it_still_has_to():
    begun, stored = asyncio.Event(), asyncio.Event()

    async def reply() -> AsyncGenerator[ReplyEvent, None]:
        try:
            yield Started("m", 1, 0)
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            stored.set()

    replies = Replies([reply()])
    await begun.wait()
    replies.close()
    async with asyncio.timeout(20):
        await stored.wait()
