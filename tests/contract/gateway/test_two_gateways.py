"""Two gateways on one memory service: turns of one conversation never interleave, whichever gateway takes them."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import pytest
from grpc.aio import AioRpcError

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.engine.fake import FakeEngine
from services.rpc import errors
from services.rpc.channel import open_channel
from services.rpc.server import Server
from tests.contract.gateway.house import USER, House


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["one", " two", " three"], pause_after=1)


@pytest.fixture
async def other(house: House, tmp_path: Path):
    """A second gateway's stub."""
    settings = GatewaySettings(
        data_dir=tmp_path,
        gateway_grpc_port=0,
        gateway_http_port=0,
        memory_address=f"127.0.0.1:{house.servers['memory'].port}",
        inference_address=f"127.0.0.1:{house.servers['inference'].port}",
        reply_reserve_tokens=50,
    )
    server = Server(GatewayService(settings), settings)
    await server.bind()
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{server.port}") as channel:
            yield ChatServiceStub(channel)
    finally:
        await server.stop(0)


async def refused(call) -> errors.ChatbotError:
    with pytest.raises(AioRpcError) as failure:
        await call
    return errors.from_rpc_error(failure.value)


async def drain(stream) -> list[chat_pb.ChatResponse]:
    return [event async for event in stream]


async def begun(stub, text, conversation="", **fields):
    """Starts a turn and returns its stream and its conversation, once the model is at it."""
    stream = aiter(stub.Chat(chat_pb.ChatRequest(text=text, conversation=conversation, **fields), metadata=USER))
    return stream, (await anext(stream)).started.conversation


async def test_a_turn_of_one_keeps_those_of_the_other_out_until_it_has_ended(house: House, other):
    stream, conversation = await begun(house.chat, "Hi")
    # The other gateway reads the conversation as it is now, the message above included.
    say = chat_pb.ChatRequest(text="And now?", conversation=conversation)
    told = await refused(drain(other.Chat(say, metadata=USER)))
    assert isinstance(told, errors.ConversationBusy)
    assert told.retry_after == 1.0
    again = chat_pb.RegenerateRequest(conversation=conversation)
    assert isinstance(await refused(drain(other.Regenerate(again, metadata=USER))), errors.ConversationBusy)
    house.engine.resume.set()
    await drain(stream)
    await drain(other.Chat(say, metadata=USER))
    assert [m.content for m in await house.history(conversation)] == [
        "Hi",
        "one two three",
        "And now?",
        "one two three",
    ]


async def test_a_turn_whose_caller_has_gone_is_ended_for_the_other_too(house: House, other):
    call = house.chat.Chat(chat_pb.ChatRequest(text="Hi"), metadata=USER)
    conversation = (await anext(aiter(call))).started.conversation
    call.cancel()
    async with asyncio.timeout(10):  # less than a lease
        while True:
            try:
                stream, _ = await begun(other, "And now?", conversation)
                break
            except AioRpcError as failure:
                if not isinstance(errors.from_rpc_error(failure), errors.ConversationBusy):
                    raise
                await asyncio.sleep(0.02)
    house.engine.resume.set()
    await drain(stream)


async def test_of_one_request_sent_to_both_one_is_carried_out(house: House, other):
    request_id = str(uuid.uuid4())
    stream, _ = await begun(house.chat, "Hi", request_id=request_id)
    same = chat_pb.ChatRequest(text="Hi", request_id=request_id)
    assert isinstance(await refused(drain(other.Chat(same, metadata=USER))), errors.ConversationBusy)
    house.engine.resume.set()
    await drain(stream)
    assert (await drain(other.Chat(same, metadata=USER)))[0].started.replayed
    assert len(house.engine.requests) == 1


async def test_a_turn_longer_than_a_lease_keeps_the_conversation(house: House, other, monkeypatch):
    monkeypatch.setattr("services.gateway.busy._LEASE_SECONDS", 1)
    monkeypatch.setattr("services.gateway.busy._RENEW_SECONDS", 0.05)
    stream, conversation = await begun(house.chat, "Hi")
    now = time.time_ns()
    # So long after the start that only having been renewed since can hold it.
    renewed = asyncio.Event()
    store = house.servers["memory"]._service._servicer.rooms.store
    hold = store.hold_turn

    async def noted(*args):
        await hold(*args)
        renewed.set()

    monkeypatch.setattr(store, "hold_turn", noted)
    monkeypatch.setattr("services.memory.store.turn_rows.time.time_ns", lambda: now + 1_500_000_000)
    await asyncio.wait_for(renewed.wait(), 30)
    say = chat_pb.ChatRequest(text="And now?", conversation=conversation)
    assert isinstance(await refused(drain(other.Chat(say, metadata=USER))), errors.ConversationBusy)
    house.engine.resume.set()
    await drain(stream)


async def test_a_gateway_that_died_keeps_a_conversation_no_longer_than_its_lease(house: House, other, monkeypatch):
    monkeypatch.setattr("services.gateway.busy._RENEW_SECONDS", 3600.0)
    stream, conversation = await begun(house.chat, "Hi")
    later = time.time_ns() + 15_000_000_000
    monkeypatch.setattr("services.memory.store.turn_rows.time.time_ns", lambda: later)
    taken_up, _ = await begun(other, "And now?", conversation)
    house.engine.resume.set()
    await drain(taken_up)
    await drain(stream)
