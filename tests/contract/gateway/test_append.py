"""Messages that were said elsewhere, appended through the gateway."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from services.inference.engine.fake import FakeEngine
from services.rpc import errors
from tests.contract.gateway.house import USER, House

STRANGER = (("x-user-id-bin", b"stranger"),)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(pause_after=1)


def said(text: str, role: message_pb.Role = message_pb.ROLE_USER, **fields: object) -> message_pb.ChatMessage:
    return message_pb.ChatMessage(role=role, content=text, **fields)


async def new_conversation(house: House) -> str:
    request = chat_pb.ChatServiceCreateConversationRequest()
    return (await house.chat.CreateConversation(request, metadata=USER)).conversation.name


async def refused(call) -> errors.ChatbotError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return errors.from_rpc_error(failure.value)


async def test_appended_messages_are_kept_in_their_order_and_nothing_is_generated(house: House):
    name = await new_conversation(house)
    request = chat_pb.ChatServiceAppendMessagesRequest(
        conversation=name,
        messages=[
            said("Be brief.", message_pb.ROLE_SYSTEM),
            said("Привет", author="Анна"),
            said("Hello", message_pb.ROLE_ASSISTANT, usage=message_pb.Usage(prompt_tokens=5, completion_tokens=1)),
        ],
    )
    answer = await house.chat.AppendMessages(request, metadata=USER)
    assert list(answer.messages) == await house.history(name)
    assert [m.content for m in answer.messages] == ["Be brief.", "Привет", "Hello"]
    assert [m.sequence for m in answer.messages] == [1, 2, 3]
    assert answer.messages[1].author == "Анна"
    assert answer.messages[2].usage.prompt_tokens == 5
    assert not answer.replayed
    assert house.engine.requests == []


async def test_a_repeated_append_changes_nothing_and_returns_what_was_stored(house: House):
    request = chat_pb.ChatServiceAppendMessagesRequest(
        conversation=await new_conversation(house), messages=[said("Once")], request_id=str(uuid.uuid4())
    )
    first = await house.chat.AppendMessages(request, metadata=USER)
    again = await house.chat.AppendMessages(request, metadata=USER)
    assert again.replayed
    assert list(again.messages) == list(first.messages) == await house.history(request.conversation)


async def test_nothing_is_appended_while_a_reply_is_generated(house: House):
    name = await new_conversation(house)
    request = chat_pb.ChatServiceAppendMessagesRequest(conversation=name, messages=[said("In between")])
    call = house.chat.Chat(chat_pb.ChatRequest(conversation=name, text="Hi"), metadata=USER)
    events = aiter(call)
    while not (await anext(events)).HasField("delta"):
        pass
    error = await refused(house.chat.AppendMessages(request, metadata=USER))
    assert error.reason == "CONVERSATION_BUSY"
    assert error.retry_after is not None
    house.engine.resume.set()
    async for _ in events:
        pass
    await house.chat.AppendMessages(request, metadata=USER)
    assert [m.content for m in await house.history(name)] == ["Hi", "Hello there.", "In between"]


async def test_appends_at_once_are_carried_out_or_refused_but_never_lost(house: House):
    name = await new_conversation(house)

    async def append(number: int) -> chat_pb.ChatServiceAppendMessagesResponse:
        request = chat_pb.ChatServiceAppendMessagesRequest(conversation=name, messages=[said(f"Message {number}")])
        return await house.chat.AppendMessages(request, metadata=USER)

    outcomes = await asyncio.gather(*map(append, range(8)), return_exceptions=True)
    refusals = [o for o in outcomes if isinstance(o, grpc.aio.AioRpcError)]
    assert {errors.from_rpc_error(refusal).reason for refusal in refusals} <= {"CONVERSATION_BUSY"}
    kept = [o.messages[0] for o in outcomes if isinstance(o, chat_pb.ChatServiceAppendMessagesResponse)]
    assert kept
    assert len(kept) + len(refusals) == 8
    assert sorted(kept, key=lambda m: m.sequence) == await house.history(name)


async def test_nobody_appends_to_a_conversation_of_another(house: House):
    name = await new_conversation(house)
    request = chat_pb.ChatServiceAppendMessagesRequest(conversation=name, messages=[said("Mine now")])
    error = await refused(house.chat.AppendMessages(request, metadata=STRANGER))
    assert error.reason == "CONVERSATION_NOT_FOUND"
    assert await house.history(name) == []


async def test_an_append_that_is_not_well_formed_is_refused(house: House):
    name = await new_conversation(house)
    for request, field in (
        (chat_pb.ChatServiceAppendMessagesRequest(conversation=name), "messages"),
        (chat_pb.ChatServiceAppendMessagesRequest(conversation="nowhere", messages=[said("Hi")]), "conversation"),
        (
            chat_pb.ChatServiceAppendMessagesRequest(conversation=name, messages=[said("Hi")], request_id="1"),
            "request_id",
        ),
    ):
        error = await refused(house.chat.AppendMessages(request, metadata=USER))
        assert error.reason == "INVALID_ARGUMENT"
        assert [v.field for v in error.violations] == [field]
