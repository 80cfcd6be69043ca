"""A message said in place of an earlier one: what followed that one no longer counts."""

from __future__ import annotations

import itertools
import uuid

import grpc
import pytest

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from services.inference.engine.fake import FakeEngine
from services.rpc import errors
from tests.contract.gateway.house import USER, House


@pytest.fixture
def engine() -> FakeEngine:
    numbers = itertools.count(1)
    return FakeEngine(lambda _: ["Reply", f" {next(numbers)}."], context_tokens=400)


async def test_it_stands_where_the_earlier_one_stood_and_what_followed_is_gone(house: House):
    conversation = (await house.say("One"))[0].started.conversation
    await house.say("Two", conversation)
    await house.say("Three", conversation)
    await house.say("Zwei", conversation, supersede_from_sequence=3)
    assert [m.content for m in await house.history(conversation)] == ["One", "Reply 1.", "Zwei", "Reply 4."]
    assert house.prompt() == "\n<user>One\n<assistant>Reply 1.\n<user>Zwei\n<assistant>"
    await house.say("Go on", conversation)
    assert house.prompt().endswith("<user>Zwei\n<assistant>Reply 4.\n<user>Go on\n<assistant>")


async def test_what_it_took_the_place_of_is_kept_but_not_found(house: House):
    conversation = (await house.say("Tomatoes"))[0].started.conversation
    await house.say("Cucumbers", conversation, supersede_from_sequence=1)
    found = await house.chat.SearchMessages(chat_pb.ChatServiceSearchMessagesRequest(query="Tomatoes"), metadata=USER)
    assert "Tomatoes" not in [hit.message.content for hit in found.hits]
    kept = await house.memory.ListMessages(
        memory_pb.ListMessagesRequest(user_id="анна", conversation=conversation, include_superseded=True)
    )
    assert [(m.content, m.superseded) for m in kept.messages] == [
        ("Tomatoes", True),
        ("Reply 1.", True),
        ("Cucumbers", False),
        ("Reply 2.", False),
    ]


async def test_repeating_the_request_replays_and_supersedes_nothing_more(house: House):
    conversation = (await house.say("One"))[0].started.conversation
    request_id = str(uuid.uuid4())
    await house.say("Eins", conversation, supersede_from_sequence=1, request_id=request_id)
    await house.say("Two", conversation)
    events = await house.say("Eins", conversation, supersede_from_sequence=1, request_id=request_id)
    assert events[0].started.replayed
    assert [m.content for m in await house.history(conversation)] == ["Eins", "Reply 2.", "Two", "Reply 3."]


async def test_the_window_goes_back_where_what_it_held_is_said_anew(house: House):
    conversation = (await house.say("Start here"))[0].started.conversation
    for number in range(12):
        await house.say(f"Number {number} " + "word " * 30, conversation, recall=chat_pb.RecallConfig(enabled=False))
    found = await house.chat.GetConversation(
        chat_pb.ChatServiceGetConversationRequest(conversation=conversation), metadata=USER
    )
    assert found.conversation.window_start_sequence > 3
    await house.say("Second", conversation, supersede_from_sequence=3)
    assert house.prompt() == "\n<user>Start here\n<assistant>Reply 1.\n<user>Second\n<assistant>"
    await house.say("Third", conversation)
    assert house.prompt().startswith("\n<user>Start here\n")


@pytest.mark.parametrize("sequence", [0, -1, 3])
async def test_the_sequence_must_be_one_of_the_conversations(house: House, sequence: int):
    conversation = (await house.say("Hi"))[0].started.conversation
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await house.say("Ho", conversation, supersede_from_sequence=sequence)
    error = errors.from_rpc_error(failure.value)
    assert isinstance(error, errors.InvalidArgument)
    assert [v.field for v in error.violations] == ["supersede_from_sequence"]
    assert len(await house.history(conversation)) == 2


async def test_a_new_conversation_has_nothing_to_take_the_place_of(house: House):
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await house.say("Hi", supersede_from_sequence=1)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
