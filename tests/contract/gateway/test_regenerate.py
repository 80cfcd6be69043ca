"""Another reply to the last message, in place of the one there is."""

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
    return FakeEngine(lambda _: ["Reply", f" {next(numbers)}."])


async def regenerate(house: House, conversation: str, **fields: object) -> list[chat_pb.RegenerateResponse]:
    request = chat_pb.RegenerateRequest(conversation=conversation, **fields)
    return [event async for event in house.chat.Regenerate(request, metadata=USER)]


async def test_the_new_reply_takes_the_place_of_the_old_one(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    events = await regenerate(house, conversation)
    assert [m.content for m in await house.history(conversation)] == ["Hi", "Reply 2."]
    assert events[0].started.message.content == "Hi"
    found = await house.chat.GetConversation(
        chat_pb.ChatServiceGetConversationRequest(conversation=conversation), metadata=USER
    )
    assert (found.conversation.message_count, found.conversation.last_sequence) == (2, 3)
    assert house.prompt() == "\n<user>Hi\n<assistant>"


async def test_the_old_reply_is_kept_but_neither_found_nor_put_into_a_prompt(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    await regenerate(house, conversation)
    found = await house.chat.SearchMessages(chat_pb.ChatServiceSearchMessagesRequest(query="Reply 1."), metadata=USER)
    assert "Reply 1." not in [hit.message.content for hit in found.hits]
    await house.say("Go on.", conversation)
    assert "Reply 1." not in house.prompt()
    kept = await house.memory.ListMessages(
        memory_pb.ListMessagesRequest(user_id="анна", conversation=conversation, include_superseded=True)
    )
    assert [(m.content, m.superseded) for m in kept.messages][:3] == [
        ("Hi", False),
        ("Reply 1.", True),
        ("Reply 2.", False),
    ]


async def test_a_repeated_request_replays_even_after_a_later_one_took_its_place(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    request_id = str(uuid.uuid4())
    first = await regenerate(house, conversation, request_id=request_id)
    await regenerate(house, conversation)
    again = await regenerate(house, conversation, request_id=request_id)
    assert again[0].started.replayed
    assert again[-1].finished.message.content == first[-1].finished.message.content == "Reply 2."
    assert len(house.engine.requests) == 3


async def test_a_message_that_never_got_a_reply_gets_one(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    await house.memory.AppendMessages(
        memory_pb.AppendMessagesRequest(
            user_id="анна",
            conversation=conversation,
            messages=[{"role": "ROLE_USER", "content": "Lost."}],
            request_id=str(uuid.uuid4()),
        )
    )
    await regenerate(house, conversation)
    assert [m.content for m in await house.history(conversation)] == ["Hi", "Reply 1.", "Lost.", "Reply 2."]


async def test_an_empty_conversation_has_nothing_to_regenerate(house: House):
    created = await house.chat.CreateConversation(chat_pb.ChatServiceCreateConversationRequest(), metadata=USER)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await regenerate(house, created.conversation.name)
    assert isinstance(errors.from_rpc_error(refused.value), errors.NothingToRegenerate)
