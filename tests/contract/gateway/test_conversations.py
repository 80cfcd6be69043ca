"""Conversations, search, export and delete for the identified user."""

from __future__ import annotations

import uuid

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from services.rpc import errors
from tests.contract.gateway.house import USER, House

STRANGER = (("x-user-id-bin", b"stranger"),)


async def refused(call) -> errors.ChatbotError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return errors.from_rpc_error(failure.value)


async def collected(call) -> list:
    return [response async for response in call]


async def test_conversations_are_listed_page_by_page_the_most_recently_used_first(house: House):
    names = [(await house.say(f"Hi {n}"))[0].started.conversation for n in range(5)]
    await house.say("Again", names[1])
    listed, token = [], ""
    while True:
        page = await house.chat.ListConversations(
            chat_pb.ChatServiceListConversationsRequest(page_size=2, page_token=token), metadata=USER
        )
        listed += [c.name for c in page.conversations]
        token = page.next_page_token
        if not token:
            break
    assert listed == [names[1], names[4], names[3], names[2], names[0]]


async def test_messages_are_listed_both_ways_and_by_role(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    await house.say("Bye", conversation)
    request = chat_pb.ChatServiceListMessagesRequest(
        conversation=conversation,
        order=memory_pb.LIST_ORDER_NEWEST_FIRST,
        filter=memory_pb.MessageFilter(roles=[message_pb.ROLE_USER]),
    )
    page = await house.chat.ListMessages(request, metadata=USER)
    assert [m.content for m in page.messages] == ["Bye", "Hi"]


async def test_only_title_and_system_prompt_can_be_changed_from_outside(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    request = chat_pb.ChatServiceUpdateConversationRequest(
        conversation=memory_pb.Conversation(name=conversation, window_start_sequence=2),
        update_mask=FieldMask(paths=["window_start_sequence"]),
    )
    error = await refused(house.chat.UpdateConversation(request, metadata=USER))
    assert isinstance(error, errors.InvalidArgument)
    assert [v.field for v in error.violations] == ["update_mask"]


async def test_a_title_is_changed_and_repeating_the_request_changes_nothing(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    request = chat_pb.ChatServiceUpdateConversationRequest(
        conversation=memory_pb.Conversation(name=conversation, title="Огород"),
        update_mask=FieldMask(paths=["title"]),
        request_id=str(uuid.uuid4()),
    )
    first = await house.chat.UpdateConversation(request, metadata=USER)
    again = await house.chat.UpdateConversation(request, metadata=USER)
    assert first.conversation.title == "Огород"
    assert again == first


async def test_a_repeated_create_gives_the_same_conversation(house: House):
    request = chat_pb.ChatServiceCreateConversationRequest(
        conversation=memory_pb.Conversation(title="Garden"), request_id=str(uuid.uuid4())
    )
    first = await house.chat.CreateConversation(request, metadata=USER)
    again = await house.chat.CreateConversation(request, metadata=USER)
    assert again == first


async def test_an_export_gives_each_conversation_followed_by_its_messages(house: House):
    await house.say("I grow tomatoes.")
    await house.say("I sail.")
    records = [r.record for r in await collected(house.chat.ExportMessages({}, metadata=USER))]
    kinds = [record.WhichOneof("record") for record in records]
    assert kinds == ["conversation", "message", "message"] * 2
    assert {r.message.content for r in records if r.HasField("message")} == {
        "I grow tomatoes.",
        "I sail.",
        "Hello there.",
    }


async def test_deleting_everything_of_a_user_leaves_the_others_alone(house: House):
    await house.say("I grow tomatoes.")
    request = chat_pb.ChatRequest(text="I sail.")
    await collected(house.chat.Chat(request, metadata=STRANGER))
    deleted = await house.chat.DeleteUserData(chat_pb.ChatServiceDeleteUserDataRequest(), metadata=USER)
    assert (deleted.conversation_count, deleted.message_count) == (1, 2)
    assert await collected(house.chat.ExportMessages({}, metadata=USER)) == []
    assert len(await collected(house.chat.ExportMessages({}, metadata=STRANGER))) == 3


async def test_search_finds_the_callers_messages_only(house: House):
    await house.say("I grow tomatoes.")
    request = chat_pb.ChatServiceSearchMessagesRequest(query="tomatoes", limit=5)
    found = await house.chat.SearchMessages(request, metadata=USER)
    assert found.hits[0].message.content == "I grow tomatoes."
    assert not (await house.chat.SearchMessages(request, metadata=STRANGER)).hits


async def test_another_users_conversation_is_answered_like_an_unknown_one(house: House):
    name = (await house.say("Hi"))[0].started.conversation
    unknown = f"conversations/{uuid.uuid4()}"
    for calls in (
        lambda n: house.chat.GetConversation(
            chat_pb.ChatServiceGetConversationRequest(conversation=n), metadata=STRANGER
        ),
        lambda n: collected(house.chat.Chat(chat_pb.ChatRequest(conversation=n, text="Hi"), metadata=STRANGER)),
        lambda n: collected(house.chat.Regenerate(chat_pb.RegenerateRequest(conversation=n), metadata=STRANGER)),
        lambda n: collected(
            house.chat.ExportMessages(chat_pb.ChatServiceExportMessagesRequest(conversation=n), metadata=STRANGER)
        ),
    ):
        theirs, nobodys = await refused(calls(name)), await refused(calls(unknown))
        assert isinstance(theirs, errors.ConversationNotFound)
        assert theirs.message.replace(name, "") == nobodys.message.replace(unknown, "")
    assert len(await house.history(name)) == 2


async def test_without_a_name_the_caller_is_the_local_user(house: House):
    await collected(house.chat.Chat(chat_pb.ChatRequest(text="Hi")))
    as_local = (("x-user-id-bin", b"local"),)
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=as_local)
    assert len(listed.conversations) == 1


@pytest.mark.parametrize("user_id", [b"", b"  ", b"\xff\xfe", b"a\0b", "я".encode() * 201])
async def test_an_unusable_user_id_is_refused(house: House, user_id: bytes):
    call = house.chat.ListConversations(
        chat_pb.ChatServiceListConversationsRequest(), metadata=(("x-user-id-bin", user_id),)
    )
    assert isinstance(await refused(call), errors.InvalidArgument)


async def test_the_model_is_described(house: House):
    answer = await house.chat.GetModel(chat_pb.ChatServiceGetModelRequest(), metadata=USER)
    assert (answer.model.id, list(answer.model.languages)) == ("fake", ["en"])


async def test_a_missing_memory_service_is_named(house: House):
    await house.servers["memory"].stop(0)
    error = await refused(house.say("Hi"))
    assert isinstance(error, errors.MemoryUnavailable)
    assert error.retry_after is not None


async def test_a_missing_inference_service_is_named_and_nothing_is_stored(house: House):
    await house.servers["inference"].stop(0)
    assert isinstance(await refused(house.say("Hi")), errors.InferenceUnavailable)
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    assert not listed.conversations
