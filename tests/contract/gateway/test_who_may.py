"""A gateway with API keys and limits, over real sockets: who comes in, as whom, and how often."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from services.gateway.identity import Role
from services.inference.engine.fake import FakeEngine
from services.rpc import errors
from services.rpc.channel import open_channel
from services.rpc.log import configure_logging
from tests.contract.gateway.house import House
from tests.support.keys import Keys

METHODS = list(chat_pb.DESCRIPTOR.services_by_name["ChatService"].methods)
ROOT = Path(__file__).resolve().parents[3]
LIST = chat_pb.ChatServiceListConversationsRequest()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys" / "keys.json")


@pytest.fixture
def anna(keys: Keys) -> str:
    return keys.add("anna")


@pytest.fixture
def gateway_settings(keys: Keys, anna: str) -> dict[str, object]:
    return {"api_keys_file": keys.file.path}


def shown(secret: str, user: str | None = None) -> tuple[tuple[str, str | bytes], ...]:
    named = () if user is None else (("x-user-id-bin", user.encode()),)
    return (("authorization", f"Bearer {secret}"), *named)


async def outcome(house: House, method: str, request: Any, metadata: Any) -> list[Any] | errors.ChatbotError:
    call = getattr(house.chat, method)(request, metadata=metadata)
    try:
        return [response async for response in call] if hasattr(call, "__aiter__") else [await call]
    except grpc.aio.AioRpcError as failure:
        return errors.from_rpc_error(failure)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_no_call_is_answered_without_a_key(house: House, method: Any):
    for metadata in ((), (("x-user-id-bin", b"anna"),), (("authorization", "Basic eDp5"),), shown("chatbot_wrong")):
        assert isinstance(await outcome(house, method.name, {}, metadata), errors.Unauthenticated)


async def test_whose_key_it_is_calls(house: House, keys: Keys, anna: str):
    bob = keys.add("bob")
    assert isinstance(await outcome(house, "Chat", chat_pb.ChatRequest(text="I sail."), shown(anna)), list)
    for secret, count in ((anna, 1), (bob, 0)):
        (page,) = await outcome(house, "ListConversations", LIST, shown(secret))
        assert len(page.conversations) == count
    owned = await house.memory.ListConversations(memory_pb.ListConversationsRequest(user_id="anna"))
    assert len(owned.conversations) == 1


async def test_a_revoked_key_opens_nothing_from_the_next_call_on(house: House, keys: Keys, anna: str):
    assert isinstance(await outcome(house, "ListConversations", LIST, shown(anna)), list)
    keys.revoke("anna")
    assert isinstance(await outcome(house, "ListConversations", LIST, shown(anna)), errors.Unauthenticated)


async def test_keys_that_are_unknown_revoked_or_expired_are_answered_alike(house: House, keys: Keys, anna: str):
    expired = keys.add("late", lifetime=timedelta(seconds=-1))
    revoked = keys.add("gone")
    keys.revoke("gone")
    told = set()
    for secret in (expired, revoked, anna[:-1], f"{anna[:21]}{'0' * 64}", f"chatbot_{'0' * 12}_{'0' * 64}", "x"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await house.chat.ListConversations(LIST, metadata=shown(secret))
        failure = refused.value
        told.add((failure.code(), failure.details(), dict(failure.trailing_metadata())[errors.STATUS_DETAILS_KEY]))
    assert len(told) == 1


async def test_only_an_admin_calls_for_another_user(house: House, keys: Keys, anna: str):
    admin = keys.add("shop", Role.ADMIN)
    said = await outcome(house, "Chat", chat_pb.ChatRequest(text="Hi"), shown(admin, "мария"))
    assert isinstance(said, list)
    owned = await house.memory.ListConversations(memory_pb.ListConversationsRequest(user_id="мария"))
    assert [c.name for c in owned.conversations] == [said[0].started.conversation]
    refused = await outcome(house, "ListConversations", LIST, shown(anna, "мария"))
    assert isinstance(refused, errors.PermissionDenied)
    assert isinstance(await outcome(house, "ListConversations", LIST, shown(anna, "anna")), list)


async def test_what_is_said_twice_is_refused(house: House, anna: str):
    twice = await outcome(house, "ListConversations", LIST, shown(anna) + shown(anna))
    assert isinstance(twice, errors.InvalidArgument)


async def test_health_answers_without_a_key(house: House):
    async with open_channel(f"127.0.0.1:{house.servers['gateway'].port}") as channel:
        answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="chatbot.v1.ChatService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_no_key_is_in_a_log_or_an_error(house: House, keys: Keys, anna: str, capfd: pytest.CaptureFixture[str]):
    configure_logging("test", "debug", "text")
    admin = keys.add("shop", Role.ADMIN)
    told = []
    for metadata in (shown(anna), shown(admin, "bob"), shown(anna, "bob"), shown(anna[:-1]), shown(anna) * 2):
        told.append(await outcome(house, "ListConversations", LIST, metadata))
        told.append(await outcome(house, "Chat", chat_pb.ChatRequest(text="Hi"), metadata))
    keys.revoke("anna")
    told.append(await outcome(house, "ListConversations", LIST, shown(anna)))
    keys.file.path.write_text("{")
    told.append(await outcome(house, "ListConversations", LIST, shown(anna)))
    log = capfd.readouterr().err
    assert "ListConversations" in log
    assert "the file of API keys cannot be used" in log
    for secret in (anna, admin):
        random_part = secret.rpartition("_")[2]
        for text in (log, *(f"{one!r} {one}" for one in told)):
            assert random_part[:16] not in text
            assert random_part[-16:] not in text
            assert hashlib.sha256(secret.encode()).hexdigest() not in text


def test_a_gateway_without_keys_that_others_could_reach_ends_with_one_sentence(tmp_path: Path):
    environment = {**os.environ, "CHATBOT_BIND_HOST": "0.0.0.0", "CHATBOT_DATA_DIR": str(tmp_path)}
    environment |= {"CHATBOT_GATEWAY_GRPC_PORT": "0", "CHATBOT_GATEWAY_HTTP_PORT": "0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
    command = [sys.executable, "-m", "services.gateway"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: CHATBOT_BIND_HOST=0.0.0.0 lets other machines in")
    assert done.stderr.count("\n") == 1


class TestLimits:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two", " three"], pause_after=1)

    @pytest.fixture
    def gateway_settings(self, keys: Keys, anna: str, limit: dict[str, int]) -> dict[str, object]:
        return {"api_keys_file": keys.file.path, **limit}

    @pytest.mark.parametrize("limit", [{"max_requests_per_minute_per_user": 1}])
    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
    async def test_a_call_of_any_kind_too_many_is_told_when_to_come_back(self, house: House, anna: str, method: Any):
        await house.chat.GetModel({}, metadata=shown(anna))
        asked: dict[str, Callable[[], Any]] = {
            "Chat": lambda: chat_pb.ChatRequest(text="Hi"),
            "GetContext": lambda: chat_pb.GetContextRequest(text="Hi"),
        }
        refused = await outcome(house, method.name, asked.get(method.name, dict)(), shown(anna))
        assert isinstance(refused, errors.LimitReached)
        assert refused.retry_after is not None
        assert 0 < refused.retry_after <= 60
        assert house.engine.requests == []

    @pytest.mark.parametrize("limit", [{"max_streams_per_user": 1}])
    async def test_a_reply_too_many_at_once_is_refused_and_another_users_is_not(
        self, house: House, keys: Keys, anna: str
    ):
        bob = keys.add("bob")
        request = chat_pb.ChatRequest(text="Hi")
        first = aiter(house.chat.Chat(request, metadata=shown(anna)))
        await anext(first)
        assert isinstance(await outcome(house, "Chat", request, shown(anna)), errors.LimitReached)
        others = aiter(house.chat.Chat(request, metadata=shown(bob)))
        await anext(others)
        house.engine.resume.set()
        for stream in (first, others):
            assert [event async for event in stream][-1].HasField("finished")
        assert isinstance(await outcome(house, "Chat", request, shown(anna)), list)

    @pytest.mark.parametrize("limit", [{"max_streams_per_user": 1}])
    async def test_a_caller_who_goes_away_gives_the_place_back(self, house: House, anna: str):
        request = chat_pb.ChatRequest(text="Hi")
        call = house.chat.Chat(request, metadata=shown(anna))
        await anext(aiter(call))
        call.cancel()
        house.engine.resume.set()
        async with asyncio.timeout(30):
            while isinstance(said := await outcome(house, "Chat", request, shown(anna)), errors.LimitReached):
                pass
        assert isinstance(said, list)

    @pytest.mark.parametrize("limit", [{"max_tokens_per_minute_per_user": 3}])
    async def test_tokens_are_those_of_prompt_and_reply_and_a_replay_costs_none(self, house: House, anna: str):
        house.engine.resume.set()
        request = chat_pb.ChatRequest(text="Hi", request_id="123e4567-e89b-42d3-a456-426614174000")
        said = await outcome(house, "Chat", request, shown(anna))
        assert isinstance(said, list)
        usage = said[-1].finished.message.usage
        refused = await outcome(house, "Chat", chat_pb.ChatRequest(text="Hi"), shown(anna))
        assert isinstance(refused, errors.LimitReached)
        assert refused.retry_after is not None
        spent = usage.prompt_tokens - usage.cached_tokens + usage.completion_tokens
        assert refused.retry_after == pytest.approx((1 - 3 + spent) * 60 / 3, abs=10)
        assert isinstance(await outcome(house, "ListConversations", LIST, shown(anna)), list)
