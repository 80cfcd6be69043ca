"""Responses that were kept: read again, listed with what they were made from, and deleted."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from services.inference.engine.fake import FakeEngine
from services.rpc import errors
from tests.contract.gateway.house import USER, House

PATH = "/v1/responses"
ANNA = {"x-user-id": "анна".encode()}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["Hello", " there", "."], context_tokens=200)


async def ask(http: httpx.AsyncClient, text: object = "Hi", **fields: object) -> dict[str, Any]:
    answer = await http.post(PATH, json={"input": text, **fields}, headers=ANNA)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(http: httpx.AsyncClient, response_id: str, what: str = "", **query: object) -> dict[str, Any]:
    answer = await http.get(f"{PATH}/{response_id}{what}", params=query, headers=ANNA)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def delete(http: httpx.AsyncClient, response_id: str) -> httpx.Response:
    return await http.delete(f"{PATH}/{response_id}", headers=ANNA)


async def conversations(house: House) -> list[memory_pb.Conversation]:
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    return list(listed.conversations)


async def test_a_response_that_was_kept_is_answered_as_it_was(http: httpx.AsyncClient):
    first = await ask(http, "One")
    second = await ask(http, "Two", previous_response_id=first["id"])
    for response in (first, second):
        again = await get(http, response["id"])
        assert abs(again.pop("created_at") - response.pop("created_at")) <= 1
        assert again == response


async def test_how_a_response_ended_is_kept(http: httpx.AsyncClient):
    cut = await ask(http, max_output_tokens=1)
    again = await get(http, cut["id"])
    assert (again["status"], again["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert again["output"] == cut["output"]


class TestAResponseThatFailed:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two"], die_after=1)

    async def test_is_kept_as_failed(self, house: House, http: httpx.AsyncClient):
        await http.post(PATH, json={"input": "Hi"}, headers=ANNA)
        (conversation,) = await conversations(house)
        failed = await get(http, f"resp_{conversation.name.split('/')[1]}_1")
        assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
        assert failed["output"][0]["content"][0]["text"] == "one"


async def test_what_a_response_was_made_from_is_listed_page_by_page(http: httpx.AsyncClient):
    first = await ask(http, [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "One"}])
    second = await ask(http, "Two", previous_response_id=first["id"])
    whole = await get(http, second["id"], "/input_items", order="asc")
    assert [(item["role"], item["content"][0]["text"]) for item in whole["data"]] == [
        ("system", "Be brief."),
        ("user", "One"),
        ("assistant", "Hello there."),
        ("user", "Two"),
    ]
    ids = [item["id"] for item in whole["data"]]
    assert len(set(ids) | {second["output"][0]["id"]}) == 5
    assert ids[2] == first["output"][0]["id"]
    assert (whole["first_id"], whole["last_id"], whole["has_more"]) == (ids[0], ids[3], False)
    newest = await get(http, second["id"], "/input_items", limit=3)
    assert ([item["id"] for item in newest["data"]], newest["has_more"]) == (ids[:0:-1], True)
    rest = await get(http, second["id"], "/input_items", after=newest["last_id"])
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (ids[:1], False)
    past_the_end = await get(http, second["id"], "/input_items", after=ids[0])
    assert (past_the_end["data"], past_the_end["first_id"]) == ([], None)


@pytest.mark.parametrize(
    ("what", "query", "param"),
    [
        ("/input_items", {"limit": 0}, "limit"),
        ("/input_items", {"limit": 101}, "limit"),
        ("/input_items", {"limit": "many"}, "limit"),
        ("/input_items", {"order": "newest"}, "order"),
        ("/input_items", {"after": "msg_none"}, "after"),
        ("", {"stream": "true"}, "stream"),
    ],
)
async def test_a_wrong_query_is_refused_by_its_parameter(http: httpx.AsyncClient, what: str, query: dict, param: str):
    response = await ask(http)
    answer = await http.get(f"{PATH}/{response['id']}{what}", params=query, headers=ANNA)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_the_only_response_of_a_conversation_is_deleted_with_it(house: House, http: httpx.AsyncClient):
    response = await ask(http, "My secret")
    deleted = await delete(http, response["id"])
    assert deleted.json() == {"id": response["id"], "object": "response", "deleted": True}
    assert await conversations(house) == []
    export = house.chat.ExportMessages(chat_pb.ChatServiceExportMessagesRequest(), metadata=USER)
    assert [record async for record in export] == []


async def test_deleting_a_response_leaves_those_before_and_after_it(house: House, http: httpx.AsyncClient):
    first = await ask(http, "One")
    second = await ask(http, "secret Two", previous_response_id=first["id"])
    third = await ask(http, "Three", previous_response_id=second["id"])
    assert (await delete(http, second["id"])).status_code == 200
    assert (await delete(http, second["id"])).status_code == 404
    (conversation,) = await conversations(house)
    assert [m.content for m in await house.history(conversation.name)] == ["One", "Hello there.", "Three",
                                                                           "Hello there."]  # fmt: skip
    assert (await get(http, third["id"]))["previous_response_id"] == first["id"]
    await ask(http, "Four", previous_response_id=third["id"])
    assert house.prompt() == (
        "\n<user>One\n<assistant>Hello there.\n<user>Three\n<assistant>Hello there.\n<user>Four\n<assistant>"
    )
    found = await house.chat.SearchMessages(chat_pb.ChatServiceSearchMessagesRequest(query="secret"), metadata=USER)
    assert "secret Two" not in [hit.message.content for hit in found.hits]
    refused = await http.post(PATH, json={"input": "x", "previous_response_id": second["id"]}, headers=ANNA)
    assert refused.json()["error"]["code"] == "previous_response_not_found"


async def test_deleting_the_last_response_has_the_one_before_it_gone_on_from(house: House, http: httpx.AsyncClient):
    first = await ask(http, "One")
    last = await ask(http, "Two", previous_response_id=first["id"])
    await delete(http, last["id"])
    await ask(http, "Three", previous_response_id=first["id"])
    assert house.prompt() == "\n<user>One\n<assistant>Hello there.\n<user>Three\n<assistant>"
    assert len(await conversations(house)) == 1


async def test_a_conversation_is_not_called_by_what_was_deleted(house: House, http: httpx.AsyncClient):
    first = await ask(http, "secret One")
    await ask(http, "Two", previous_response_id=first["id"])
    assert [c.title for c in await conversations(house)] == ["secret One"]
    await delete(http, first["id"])
    assert [c.title for c in await conversations(house)] == ["Two"]


async def test_a_branch_is_deleted_with_what_it_has_taken_along(house: House, http: httpx.AsyncClient):
    first = await ask(http, "One")
    await ask(http, "left", previous_response_id=first["id"])
    right = await ask(http, "right", previous_response_id=first["id"])
    assert len(await conversations(house)) == 2
    await delete(http, right["id"])
    (conversation,) = await conversations(house)
    assert [m.content for m in await house.history(conversation.name)][2] == "left"


async def test_a_response_of_another_user_is_not_there_whatever_is_asked_of_it(house: House, http: httpx.AsyncClient):
    response = await ask(http)
    for method, what in (("GET", ""), ("GET", "/input_items"), ("DELETE", "")):
        bodies = set()
        for response_id in (response["id"], "resp_x_1", "nonsense", response["id"] + "0"):
            answer = await http.request(method, f"{PATH}/{response_id}{what}", headers={"x-user-id": "bob"})
            assert answer.status_code == 404
            bodies.add(answer.text)
        assert len(bodies) == 1
        assert answer.json()["error"]["code"] == "response_not_found"
    assert len(await house.history((await conversations(house))[0].name)) == 2


class TestAResponseUnderWay:
    async def test_keeps_turns_of_its_conversation_out_until_it_has_ended(self, house: House, http: httpx.AsyncClient):
        async with http.stream("POST", PATH, json={"input": "Hi", "stream": True}, headers=ANNA) as answer:
            lines = answer.aiter_lines()  # kept: where it is collected, the stream is closed
            async for line in lines:
                if '"one"' in line:
                    break
            (conversation,) = await conversations(house)
            with pytest.raises(grpc.aio.AioRpcError) as busy:
                await house.say("And now?", conversation.name)
            assert isinstance(errors.from_rpc_error(busy.value), errors.ConversationBusy)
            house.engine.resume.set()
            async for line in lines:
                if "response.completed" in line:
                    break
            await house.say("And now?", conversation.name)
        assert [m.content for m in await house.history(conversation.name)] == ["Hi", "one two", "And now?", "one two"]

    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two"], pause_after=1)

    async def test_is_not_there_before_it_has_ended(self, house: House, http: httpx.AsyncClient):
        async with http.stream("POST", PATH, json={"input": "Hi", "stream": True}, headers=ANNA) as answer:
            lines = answer.aiter_lines()  # kept: where it is collected, the stream is closed
            async for line in lines:
                if '"one"' in line:
                    break
            (conversation,) = await conversations(house)
            response_id = f"resp_{conversation.name.split('/')[1]}_1"
            assert (await delete(http, response_id)).status_code == 404
            house.engine.resume.set()
            async for _ in lines:
                pass
        assert (await get(http, response_id))["status"] == "completed"
        assert (await house.history(conversation.name))[-1].finish_reason == message_pb.FINISH_REASON_EOS
