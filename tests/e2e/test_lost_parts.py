"""A client, the memory service or the inference service goes away in the middle: nothing is lost or left running."""

from __future__ import annotations

import subprocess
import sys
import uuid

import grpc
import pytest

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1.inference_service_pb2 import SamplingConfig
from services.rpc import errors
from tests.e2e.stack import ROOT, Doors, Stack, until

# At this temperature hardly any text comes to an end by itself.
LONG = SamplingConfig(temperature=4, seed=3, max_tokens=2000)

CLIENT = """
import sys, grpc
from chatbot.v1.chat_service_pb2 import ChatRequest
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.inference_service_pb2 import SamplingConfig
port, user = sys.argv[1:]
stub = ChatServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
request = ChatRequest(text="Tell me a long story.", sampling=SamplingConfig(temperature=4, seed=3, max_tokens=2000))
for event in stub.Chat(request, metadata=(("x-user-id-bin", user.encode()),)):
    print(event.WhichOneof("event"), event.started.conversation, flush=True)
"""


async def running_requests(doors: Doors) -> int:
    return (await doors.inference.GetLoad(inference_pb.GetLoadRequest())).running_requests


async def until_the_engine_is_free(doors: Doors) -> None:
    async def is_free() -> bool:
        return await running_requests(doors) == 0

    await until(is_free)


async def last_message(doors: Doors, conversation: str) -> message_pb.ChatMessage:
    request = chat_pb.ChatServiceListMessagesRequest(conversation=conversation, page_size=1000)
    return (await doors.chat.ListMessages(request, metadata=doors.metadata)).messages[-1]


async def test_a_client_that_is_killed_frees_the_engine_and_its_partial_reply_is_kept(stack: Stack, doors: Doors):
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(stack.ports["gateway"]), doors.user_id],
        env=stack.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        started, conversation = client.stdout.readline().split()
        assert started == "started"
        for _ in range(3):
            assert client.stdout.readline().split() == ["delta"]
        assert await running_requests(doors) == 1
        client.kill()

    async def reply_is_kept() -> bool:
        return (await last_message(doors, conversation)).role == message_pb.ROLE_ASSISTANT

    await until_the_engine_is_free(doors)
    await until(reply_is_kept)
    kept = await last_message(doors, conversation)
    assert kept.finish_reason == message_pb.FINISH_REASON_CANCELLED
    assert kept.content


async def test_a_deadline_ends_the_reply_and_is_told_before_it_passes(doors: Doors):
    request = chat_pb.ChatRequest(text="Tell me a long story.", sampling=LONG)
    events = [event async for event in doors.chat.Chat(request, metadata=doors.metadata, timeout=3)]
    finished = events[-1].finished.message
    assert finished.finish_reason == message_pb.FINISH_REASON_DEADLINE
    assert (await last_message(doors, events[0].started.conversation)).content == finished.content
    # The engine itself ended it, and the gateway had not to.
    assert events[-1].finished.HasField("timings")
    assert await running_requests(doors) == 0


async def test_a_lost_engine_ends_the_reply_and_what_had_arrived_is_kept(stack: Stack, doors: Doors):
    request = chat_pb.ChatRequest(text="Tell me a long story.", sampling=LONG)
    stream = aiter(doors.chat.Chat(request, metadata=doors.metadata))
    events = [await anext(stream) for _ in range(4)]
    stack.kill("inference")
    try:
        events += [event async for event in stream]
        text = "".join(event.delta.text for event in events)
        finished = events[-1].finished.message
        assert finished.finish_reason == message_pb.FINISH_REASON_ENGINE_LOST
        assert finished.content == text

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in doors.chat.Chat(chat_pb.ChatRequest(text="Hello?"), metadata=doors.metadata):
                pytest.fail("an event came although there is no engine")
        error = errors.from_rpc_error(refused.value)
        assert isinstance(error, errors.InferenceUnavailable)
        assert error.retry_after is not None
    finally:
        stack.start("inference")
    assert (await last_message(doors, events[0].started.conversation)).content == text


async def test_what_was_acknowledged_survives_a_killed_memory_service(stack: Stack, doors: Doors):
    request = chat_pb.ChatRequest(
        text="Remember me.", request_id=str(uuid.uuid4()), sampling=SamplingConfig(temperature=0, max_tokens=8)
    )
    events = [event async for event in doors.chat.Chat(request, metadata=doors.metadata)]
    stack.kill("memory")
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await doors.chat.ListConversations(
                chat_pb.ChatServiceListConversationsRequest(), metadata=doors.metadata, timeout=10
            )
        assert isinstance(errors.from_rpc_error(refused.value), errors.MemoryUnavailable)
    finally:
        stack.start("memory")
    listed = await doors.chat.ListMessages(
        chat_pb.ChatServiceListMessagesRequest(conversation=events[0].started.conversation),
        metadata=doors.metadata,
    )
    assert list(listed.messages) == [events[0].started.message, events[-1].finished.message]


async def test_a_reply_outlasts_a_restart_of_the_memory_service_while_it_is_generated(stack: Stack, doors: Doors):
    request = chat_pb.ChatRequest(
        text="Tell me a story.", sampling=SamplingConfig(temperature=1, seed=5, max_tokens=60)
    )
    stream = aiter(doors.chat.Chat(request, metadata=doors.metadata))
    events = [await anext(stream), await anext(stream)]
    stack.kill("memory")
    stack.start("memory")
    events += [event async for event in stream]
    kept = await last_message(doors, events[0].started.conversation)
    assert kept == events[-1].finished.message
