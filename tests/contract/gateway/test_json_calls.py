"""`ChatService` as JSON over HTTP, as the page calls it."""

from __future__ import annotations

import json
import uuid

import httpx
import pytest

from chatbot.v1.chat_service_pb2 import DESCRIPTOR
from services.gateway.web.json_calls import MAX_BODY_BYTES
from services.inference.engine.fake import REFUSED_TEXT, FakeEngine
from tests.contract.gateway.house import House

CALLS = "/api/v1/ChatService"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["one", " two", " three", " four"], pause_after=2)


async def call(http: httpx.AsyncClient, method: str, body: object = None) -> httpx.Response:
    return await http.post(f"{CALLS}/{method}", json=body or {})


async def chat(http: httpx.AsyncClient, **body: object) -> list[dict]:
    answer = await call(http, "Chat", body)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_reply_comes_as_one_object_a_line(house: House, http: httpx.AsyncClient):
    house.engine.resume.set()
    answer = await call(http, "Chat", {"text": "Привет"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["cache-control"] == "no-store"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [next(iter(event)) for event in events] == ["started", *["delta"] * 4, "finished"]
    assert "".join(event["delta"]["text"] for event in events[1:-1]) == "one two three four"
    assert events[0]["started"]["message"]["content"] == "Привет"
    assert events[-1]["finished"]["message"]["sequence"] == "2"


async def test_every_method_of_the_service_answers(house: House, http: httpx.AsyncClient):
    house.engine.resume.set()
    name = (await chat(http, text="Hi"))[0]["started"]["conversation"]
    bodies = {
        "Chat": {"conversation": name, "text": "Hi"},
        "Regenerate": {"conversation": name},
        "GetContext": {"conversation": name, "text": "Hi"},
        "GetConversation": {"conversation": name},
        "UpdateConversation": {
            "conversation": {"name": name, "systemPrompt": "Be brief."},
            "updateMask": "systemPrompt",
        },
        "AppendMessages": {"conversation": name, "messages": [{"role": "ROLE_USER", "content": "Hi"}]},
        "ListMessages": {"conversation": name},
        "SearchMessages": {"query": "Hi"},
        "DeleteConversation": {"conversation": name},
    }
    methods = [method.name for method in DESCRIPTOR.services_by_name["ChatService"].methods]
    last = ["DeleteConversation", "DeleteUserData"]
    for method in [*(m for m in methods if m not in last), *last]:
        answer = await call(http, method, bodies.get(method))
        assert answer.status_code == 200, (method, answer.text)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"conversation": "conversations/none", "text": "Hi"}, 404, "CONVERSATION_NOT_FOUND"),
        ({"text": " "}, 400, "INVALID_ARGUMENT"),
        ({"text": REFUSED_TEXT}, 400, "INVALID_ARGUMENT"),
        ({"text": "Hi", "colour": "red"}, 400, "INVALID_ARGUMENT"),
        ({"text": ["Hi"]}, 400, "INVALID_ARGUMENT"),
    ],
)
async def test_what_fails_before_the_reply_begins_has_its_own_status(
    http: httpx.AsyncClient, body: dict, status: int, reason: str
):
    answer = await call(http, "Chat", body)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)


async def test_a_reader_that_goes_away_stops_the_model_and_what_was_said_is_kept(house: House, http: httpx.AsyncClient):
    async with http.stream("POST", f"{CALLS}/Chat", json={"text": "Hi"}) as answer:
        lines = answer.aiter_lines()
        conversation = json.loads(await anext(lines))["started"]["conversation"]
        for _ in range(2):
            await anext(lines)
    while house.engine.load().running:
        await call(http, "GetConversation", {"conversation": conversation})
    while True:
        messages = (await call(http, "ListMessages", {"conversation": conversation})).json()["messages"]
        if len(messages) == 2:
            break
    assert messages[1]["content"] == "one two"
    assert messages[1]["finishReason"] == "FINISH_REASON_CANCELLED"


async def test_a_repeated_request_replays(house: House, http: httpx.AsyncClient):
    house.engine.resume.set()
    request_id = str(uuid.uuid4())
    await chat(http, text="Hi", requestId=request_id)
    events = await chat(http, text="Hi", requestId=request_id)
    assert events[0]["started"]["replayed"]
    assert len(house.engine.requests) == 1


async def test_only_json_is_taken_so_that_pages_of_other_sites_would_have_to_ask_first(http: httpx.AsyncClient):
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = await http.post(f"{CALLS}/GetModel", content=b"{}", headers={"content-type": content_type})
        assert answer.status_code == 415
    asked = await http.options(
        f"{CALLS}/GetModel",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert "access-control-allow-origin" not in asked.headers


async def test_other_verbs_and_methods_are_refused(http: httpx.AsyncClient):
    assert (await http.get(f"{CALLS}/GetModel")).status_code == 405
    assert (await call(http, "Nothing")).status_code == 404
    assert (await call(http, "__init__")).status_code == 404


async def test_a_body_that_is_no_json_or_too_large_is_refused_without_repeating_it(http: httpx.AsyncClient):
    headers = {"content-type": "application/json"}
    for content in (b"{secret", b"\xff", b"[" * 200_000, b'{"text": "\\ud800 secret"}', b'{"text": 1, "x": "secret"}'):
        answer = await http.post(f"{CALLS}/Chat", content=content, headers=headers)
        assert answer.status_code == 400, content[:20]
        assert "secret" not in answer.text
    answer = await http.post(f"{CALLS}/Chat", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert answer.status_code == 413


async def test_the_page_is_served_with_its_files_and_nothing_beside_them(http: httpx.AsyncClient):
    page = await http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    script = await http.get("/assets/js/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = await http.get("/assets/js/main.js", headers={"if-none-match": script.headers["etag"]})
    assert again.status_code == 304
    for path in ("/assets/../page.py", "/assets/%2e%2e/page.py", "/assets/", "/assets/js", "/assets/nothing.js"):
        assert (await http.get(path)).status_code == 404
