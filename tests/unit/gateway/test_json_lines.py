"""A stream of JSON lines whose call fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from chatbot.v1 import chat_service_pb2 as chat_pb
from services.gateway.web.json_lines import JsonLines
from services.rpc.errors import MemoryUnavailable, Overloaded


async def failing(failure: Exception, after: int) -> AsyncGenerator[chat_pb.ChatResponse, None]:
    for number in range(after):
        yield chat_pb.ChatResponse(delta=chat_pb.ReplyDelta(text=f"{number}", token_count=1))
    raise failure


async def answer_of(messages: AsyncGenerator[chat_pb.ChatResponse, None]) -> httpx.Response:
    transport = httpx.ASGITransport(app=JsonLines(messages))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get("/")


async def test_before_the_first_message_it_is_the_status():
    answer = await answer_of(failing(Overloaded("Too much.", retry_after=2.4), 0))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"
    assert answer.json()["error"]["reason"] == "OVERLOADED"
    assert answer.json()["error"]["retryAfter"] == 2.4


async def test_after_it_it_is_the_last_line():
    answer = await answer_of(failing(MemoryUnavailable("The memory service does not answer."), 2))
    assert answer.status_code == 200
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [next(iter(line)) for line in lines] == ["delta", "delta", "error"]
    assert lines[-1]["error"]["reason"] == "MEMORY_UNAVAILABLE"


@pytest.mark.parametrize("after", [0, 1])
async def test_an_exception_that_nobody_expected_does_not_get_out(after: int):
    answer = await answer_of(failing(RuntimeError("a secret"), after))
    assert answer.status_code == (500 if after == 0 else 200)
    assert json.loads(answer.text.splitlines()[-1])["error"]["reason"] == "INTERNAL"
    assert "secret" not in answer.text


async def test_a_call_without_messages_is_an_empty_answer():
    async def nothing() -> AsyncGenerator[chat_pb.ChatResponse, None]:
        for never in ():
            yield never

    answer = await answer_of(nothing())
    assert (answer.status_code, answer.text) == (200, "")


async def test_the_call_is_closed_when_the_reader_goes_away():
    closed: list[bool] = []

    async def endless() -> AsyncGenerator[chat_pb.ChatResponse, None]:
        try:
            while True:
                yield chat_pb.ChatResponse(delta=chat_pb.ReplyDelta(text="more", token_count=1))
        finally:
            closed.append(True)

    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)
        # As a socket does: others get their turn.
        await asyncio.sleep(0)

    await JsonLines(endless())({"type": "http"}, receive, send)
    assert closed == [True]
