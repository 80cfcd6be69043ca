"""`POST /v1/responses` on the wire, and what is kept of responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from services.inference.engine.fake import FakeEngine
from tests.contract.gateway.house import USER, House

PATH = "/v1/responses"
ANNA = {"x-user-id": "анна".encode()}
Stream = Callable[..., Awaitable[tuple[list[dict[str, Any]], bool]]]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["Hello", " there", "."], context_tokens=200)


async def ask(http: httpx.AsyncClient, text: object = "Hi", **fields: object) -> dict[str, Any]:
    answer = await http.post(PATH, json={"input": text, **fields}, headers=ANNA)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def conversations(house: House) -> list[str]:
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    return [conversation.name for conversation in listed.conversations]


async def test_a_response_has_the_shape_that_clients_read(http: httpx.AsyncClient):
    response = await ask(http, instructions="Be kind.", metadata={"a": "b"})
    assert (response["object"], response["status"], response["model"]) == ("response", "completed", "fake")
    (message,) = response["output"]
    assert message["content"] == [{"type": "output_text", "text": "Hello there.", "annotations": [], "logprobs": []}]
    assert message["status"] == "completed"
    assert response["usage"]["output_tokens"] == 3
    assert response["metadata"] == {"a": "b"}


async def test_a_cut_response_is_incomplete(http: httpx.AsyncClient):
    response = await ask(http, max_output_tokens=1)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_response_is_gone_on_from_in_its_own_conversation(house: House, http: httpx.AsyncClient):
    first = await ask(http, "One", instructions="Be kind.")
    second = await ask(http, "Two", previous_response_id=first["id"])
    assert house.prompt() == "\n<user>One\n<assistant>Hello there.\n<user>Two\n<assistant>"
    third = await ask(http, "Three", previous_response_id=second["id"])
    assert third["previous_response_id"] == second["id"]
    (name,) = await conversations(house)
    assert [m.content for m in await house.history(name)] == ["One", "Hello there.", "Two", "Hello there.", "Three",
                                                              "Hello there."]  # fmt: skip


async def test_two_continuations_of_one_response_do_not_mix(house: House, http: httpx.AsyncClient):
    first = await ask(http, "One")
    for text in ("left", "right"):
        await ask(http, text, previous_response_id=first["id"])
        assert house.prompt() == f"\n<user>One\n<assistant>Hello there.\n<user>{text}\n<assistant>"
    assert len(await conversations(house)) == 2


async def test_what_is_not_to_be_stored_is_not(house: House, http: httpx.AsyncClient):
    response = await ask(http, store=False)
    assert await conversations(house) == []
    answer = await http.post(PATH, json={"input": "x", "previous_response_id": response["id"]}, headers=ANNA)
    assert answer.status_code == 404


async def test_going_on_without_storing_reads_the_past(house: House, http: httpx.AsyncClient):
    first = await ask(http, "One")
    await ask(http, "Two", previous_response_id=first["id"], store=False)
    assert "One" in house.prompt()
    (name,) = await conversations(house)
    assert len(await house.history(name)) == 2


async def test_a_response_of_another_user_is_not_there(http: httpx.AsyncClient):
    first = await ask(http, "One")
    for response_id in (first["id"], "resp_x_1", "nonsense", "resp_a/b_1"):
        body = {"input": "Two", "previous_response_id": response_id}
        answer = await http.post(PATH, json=body, headers={"x-user-id": "bob"})
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "previous_response_not_found"


async def test_a_list_of_items_is_a_conversation(house: House, http: httpx.AsyncClient):
    earlier = await ask(http, "One", store=False)
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "One"}]},
        *earlier["output"],
        {"type": "message", "role": "user", "content": "Two"},
    ]
    await ask(http, items, instructions="Be kind.")
    assert house.prompt() == (
        "\n<system>Be kind.\n\nBe brief.\n<user>One\n<assistant>Hello there.\n<user>Two\n<assistant>"
    )


async def test_a_stream_has_the_events_in_their_order(stream: Stream, house: House):
    events, done = await stream(PATH, {"input": "Hi"}, ANNA)
    assert not done
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert "".join(event.get("delta", "") for event in events) == events[7]["text"] == "Hello there."
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]
    (name,) = await conversations(house)
    assert [m.content for m in await house.history(name)] == ["Hi", "Hello there."]


async def test_a_prompt_over_the_context_is_refused_and_nothing_is_kept(house: House, http: httpx.AsyncClient):
    for streamed in (False, True):
        answer = await http.post(PATH, json={"input": "word " * 300, "stream": streamed}, headers=ANNA)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert await conversations(house) == []


async def test_what_a_response_cannot_do_is_refused(house: House, http: httpx.AsyncClient):
    refused = [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "function_call_output"}]}, "input[0].type"),
        ({"input": [{"content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"text": {"format": {"type": "sound"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.json_schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "1"}, "temperature"),
    ]
    told = []
    for fields, _ in refused:
        answer = await http.post(PATH, json={"input": "Hi", **fields}, headers=ANNA)
        told.append((fields, answer.status_code, answer.json()["error"]["param"]))
    assert told == [(fields, 400, param) for fields, param in refused]
    assert await conversations(house) == []


class TestAModelThatIsBusy:
    @pytest.fixture
    def engine(self, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
        monkeypatch.setenv("CHATBOT_MAX_RUNNING_REQUESTS", "1")
        monkeypatch.setenv("CHATBOT_MAX_QUEUED_REQUESTS", "0")
        return FakeEngine(["one", " two"], pause_after=1)

    async def test_leaves_nothing_of_what_it_refuses(self, house: House, http: httpx.AsyncClient):
        async with http.stream("POST", PATH, json={"input": "Hi", "stream": True, "store": False}) as answer:
            lines = answer.aiter_lines()  # kept: where it is collected, the stream is closed
            async for line in lines:
                if '"one"' in line:
                    break
            for streamed in (False, True):
                refused = await http.post(PATH, json={"input": "Hi", "stream": streamed}, headers=ANNA)
                assert refused.status_code == 429
        assert await conversations(house) == []


class TestAResponseThatBreaksOff:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two"], die_after=1)

    async def test_ends_with_an_error_event_and_is_kept_as_far_as_it_got(self, stream: Stream, house: House):
        events, _ = await stream(PATH, {"input": "Hi"}, ANNA)
        assert events[-1]["type"] == "error"
        assert events[-1]["code"] == "engine_lost"
        (name,) = await conversations(house)
        reply = (await house.history(name))[-1]
        assert reply.content == "one"
        assert reply.finish_reason == message_pb.FINISH_REASON_ENGINE_LOST


class TestAClientThatGoesAway:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two", " three"], pause_after=2)

    async def test_leaves_what_was_said_so_far(self, house: House, http: httpx.AsyncClient):
        async with http.stream("POST", PATH, json={"input": "Hi", "stream": True}, headers=ANNA) as answer:
            async for line in answer.aiter_lines():
                if '" two"' in line:
                    break
        (name,) = await conversations(house)
        while len(history := await house.history(name)) < 2:
            assert house.engine.load().running <= 1
        assert history[-1].content == "one two"
        assert history[-1].finish_reason == message_pb.FINISH_REASON_CANCELLED
        assert house.engine.load().running == 0
