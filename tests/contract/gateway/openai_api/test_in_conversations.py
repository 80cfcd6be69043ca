"""Chat completions that are turns of a conversation of this backend."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from chatbot.v1 import chat_service_pb2 as chat_pb
from services.inference.engine.fake import REFUSED_TEXT
from tests.contract.gateway.house import USER, House

PATH = "/v1/chat/completions"
ANNA = {"x-user-id": "анна".encode()}
Stream = Callable[..., Awaitable[tuple[list[dict[str, Any]], bool]]]


async def say(http: httpx.AsyncClient, text: str, headers: dict | None = None, **fields: object) -> httpx.Response:
    messages = [{"role": "user", "content": "never said here"}, {"role": "user", "content": text}]
    return await http.post(PATH, json={"messages": messages, **fields}, headers=headers or ANNA)


async def test_a_turn_uses_the_conversations_own_history_and_is_kept(house: House, http: httpx.AsyncClient):
    first = (await say(http, "My cat is Tom", conversation="new")).json()
    name = first["conversation"]
    second = await say(http, "And my dog is Rex", headers={**ANNA, "x-conversation": name})
    assert second.json()["conversation"] == name
    assert [m.content for m in await house.history(name)] == [
        "My cat is Tom",
        "Hello there.",
        "And my dog is Rex",
        "Hello there.",
    ]
    assert "My cat is Tom" in house.prompt()
    assert "never said here" not in house.prompt()


async def test_a_streamed_turn_tells_its_conversation_and_is_kept(house: House, stream: Stream):
    body = {"messages": [{"role": "user", "content": "Hi"}], "conversation": "new"}
    chunks, done = await stream(PATH, body, ANNA)
    assert done
    (name,) = {chunk["conversation"] for chunk in chunks}
    assert len(await house.history(name)) == 2


async def test_nothing_is_kept_or_recalled_without_a_conversation(house: House, http: httpx.AsyncClient):
    await house.say("The password is swordfish")
    await http.post(PATH, json={"messages": [{"role": "user", "content": "The password?"}]}, headers=ANNA)
    assert "swordfish" not in house.prompt()
    listed = await house.chat.ListConversations(
        chat_pb.ChatServiceListConversationsRequest(), metadata=(("x-user-id-bin", "анна".encode()),)
    )
    assert len(listed.conversations) == 1


async def test_a_conversation_of_another_user_is_not_there(http: httpx.AsyncClient):
    name = (await say(http, "Hi", conversation="new")).json()["conversation"]
    theirs = await say(http, "Hi", headers={"x-user-id": "bob"}, conversation=name)
    nowhere = await say(http, "Hi", conversation=f"conversations/{uuid.uuid4()}")
    assert theirs.status_code == nowhere.status_code == 404
    assert theirs.json()["error"]["code"] == nowhere.json()["error"]["code"] == "conversation_not_found"


@pytest.mark.parametrize("key", ["6f6b0b1e-3c0f-4d61-9a52-0f5f0c8d9b1a", "any words"])
async def test_a_repeated_idempotency_key_never_generates_twice(house: House, http: httpx.AsyncClient, key: str):
    headers = {**ANNA, "idempotency-key": key}
    answers = [(await say(http, "Hi", headers=headers, conversation="new")).json() for _ in range(2)]
    assert answers[0]["conversation"] == answers[1]["conversation"]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[1]["model"] == "fake"
    assert len(house.engine.requests) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_object", "schema": {"title": REFUSED_TEXT}}},
            "response_format.json_schema",
        ),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"conversation": ""}, "conversation"),
        ({"conversation": 5}, "conversation"),
    ],
)
async def test_what_a_turn_cannot_do_is_refused(house: House, http: httpx.AsyncClient, fields: dict, param: str):
    answer = await say(http, "Hi", **({"conversation": "new"} | fields))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert house.engine.requests == []
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    assert not listed.conversations


async def test_a_turn_has_the_form_and_the_logprobs_that_are_asked_for(house: House, http: httpx.AsyncClient):
    asked = {"response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 1}
    answer = (await say(http, "Hi", conversation="new", **asked)).json()
    assert house.engine.requests[-1].json_schema == '{"type": "object"}'
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == "Hello there."
    assert {len(token["top_logprobs"]) for token in tokens} == {1}
    plain = (await say(http, "Hi", conversation=answer["conversation"])).json()
    assert plain["choices"][0]["logprobs"] is None


async def test_a_streamed_turn_tells_its_logprobs(stream: Stream):
    body = {"messages": [{"role": "user", "content": "Hi"}], "conversation": "new", "logprobs": True}
    chunks, _ = await stream(PATH, body, ANNA)
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert "".join(token["token"] for each in told if each for token in each["content"]) == "Hello there."


async def test_header_and_field_must_not_name_different_conversations(http: httpx.AsyncClient):
    answer = await say(http, "Hi", headers={**ANNA, "x-conversation": "new"}, conversation="conversations/x")
    assert answer.status_code == 400
