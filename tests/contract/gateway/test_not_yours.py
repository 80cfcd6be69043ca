"""What is another user's is answered, byte for byte, like what does not exist: by every call, at every moment."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from services.inference.engine.fake import FakeEngine
from services.rpc import errors
from tests.contract.gateway.house import USER, House

STRANGER = (("x-user-id-bin", b"stranger"),)
METHODS = {method.name: method for method in chat_pb.DESCRIPTOR.services_by_name["ChatService"].methods}

ABOUT_A_CONVERSATION: dict[str, Callable[[str], Message]] = {
    "Chat": lambda name: chat_pb.ChatRequest(conversation=name, text="Hi"),
    "Regenerate": lambda name: chat_pb.RegenerateRequest(conversation=name),
    "GetContext": lambda name: chat_pb.GetContextRequest(conversation=name, text="Hi"),
    "GetConversation": lambda name: chat_pb.ChatServiceGetConversationRequest(conversation=name),
    "UpdateConversation": lambda name: chat_pb.ChatServiceUpdateConversationRequest(
        conversation=memory_pb.Conversation(name=name, title="Mine now"), update_mask=FieldMask(paths=["title"])
    ),
    "DeleteConversation": lambda name: chat_pb.ChatServiceDeleteConversationRequest(conversation=name),
    "AppendMessages": lambda name: chat_pb.ChatServiceAppendMessagesRequest(
        conversation=name, messages=[message_pb.ChatMessage(role=message_pb.ROLE_USER, content="Hi")]
    ),
    "ListMessages": lambda name: chat_pb.ChatServiceListMessagesRequest(conversation=name),
    "SearchMessages": lambda name: chat_pb.ChatServiceSearchMessagesRequest(query="secret", conversation=name),
    "ExportMessages": lambda name: chat_pb.ChatServiceExportMessagesRequest(conversation=name),
}
"""A request of every call that takes a conversation's name."""

ABOUT_THE_CALLER: dict[str, Message] = {
    "ListConversations": chat_pb.ChatServiceListConversationsRequest(),
    "SearchMessages": chat_pb.ChatServiceSearchMessagesRequest(query="secret"),
    "ExportMessages": chat_pb.ChatServiceExportMessagesRequest(),
    "DeleteUserData": chat_pb.ChatServiceDeleteUserDataRequest(),
}
"""A request of every call that answers with what the caller has."""

ABOUT_NOTHING_STORED = {"GetModel", "CreateConversation"}


@dataclass(frozen=True)
class Answer:
    """All that a caller can see of a call's outcome, but for how long it took."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str | bytes], ...]
    responses: tuple[bytes, ...]

    def without(self, name: str) -> Answer:
        """Returns it with a name that the caller has given replaced by another of its length."""
        plain = "x" * len(name)
        return Answer(
            self.code,
            self.details.replace(name, plain),
            tuple(
                (key, value.replace(name.encode(), plain.encode()) if isinstance(value, bytes) else value)
                for key, value in self.metadata
            ),
            tuple(response.replace(name.encode(), plain.encode()) for response in self.responses),
        )


async def answer(house: House, method: str, request: Message, metadata: Any = STRANGER) -> Answer:
    call = getattr(house.chat, method)(request, metadata=metadata)
    responses: list[bytes] = []
    try:
        if METHODS[method].server_streaming:
            responses.extend([response.SerializeToString(deterministic=True) async for response in call])
        else:
            responses.append((await call).SerializeToString(deterministic=True))
    except grpc.aio.AioRpcError as failure:
        trailing = tuple((key, value) for key, value in failure.trailing_metadata())
        return Answer(failure.code(), failure.details() or "", trailing, tuple(responses))
    return Answer(grpc.StatusCode.OK, "", (), tuple(responses))


def nobodys(name: str) -> str:
    """Returns a name like the given one that nothing has."""
    return f"conversations/{uuid.uuid4()}"[: len(name)]


def test_every_call_of_the_service_is_walked():
    assert {*ABOUT_A_CONVERSATION, *ABOUT_THE_CALLER, *ABOUT_NOTHING_STORED} == set(METHODS)
    for name, method in METHODS.items():
        fields = {field.name for field in method.input_type.fields}
        assert ("conversation" in fields and name != "CreateConversation") == (name in ABOUT_A_CONVERSATION)


@pytest.fixture
async def hers(house: House) -> AsyncIterator[str]:
    """A conversation of another user's, which nothing that happens in the test may change."""
    name = (await house.say("A secret."))[0].started.conversation
    before = await answer(house, "ExportMessages", chat_pb.ChatServiceExportMessagesRequest(), USER)
    yield name
    assert await answer(house, "ExportMessages", chat_pb.ChatServiceExportMessagesRequest(), USER) == before


@pytest.mark.parametrize("method", ABOUT_A_CONVERSATION)
async def test_another_users_conversation_is_answered_like_none(house: House, hers: str, method: str):
    unknown = nobodys(hers)
    theirs = await answer(house, method, ABOUT_A_CONVERSATION[method](hers))
    none = await answer(house, method, ABOUT_A_CONVERSATION[method](unknown))
    assert theirs.code is grpc.StatusCode.NOT_FOUND
    assert theirs.without(hers) == none.without(unknown)
    # So that the walk is known to ask what its owner would be given.
    probe = await answer(house, "GetConversation", ABOUT_A_CONVERSATION["GetConversation"](hers), USER)
    assert probe.code is grpc.StatusCode.OK


@pytest.mark.parametrize("method", ABOUT_THE_CALLER)
async def test_a_stranger_is_given_nothing_of_another_users(house: House, hers: str, method: str):
    theirs = await answer(house, method, ABOUT_THE_CALLER[method])
    assert theirs.code is grpc.StatusCode.OK
    assert not any(part in response for response in theirs.responses for part in (b"secret", hers.encode()))


async def test_another_users_page_token_is_answered_like_a_made_up_one(house: House):
    hers = (await house.say("A secret."))[0].started.conversation
    await house.say("Another.")
    made: dict[str, Callable[[str], Any]] = {
        "ListConversations": lambda token: chat_pb.ChatServiceListConversationsRequest(page_size=1, page_token=token),
        "ListMessages": lambda token: chat_pb.ChatServiceListMessagesRequest(
            conversation=hers, page_size=1, page_token=token
        ),
    }
    for method, request in made.items():
        token = (await getattr(house.chat, method)(request(""), metadata=USER)).next_page_token
        assert token
        theirs = await answer(house, method, request(token))
        assert theirs.code is not grpc.StatusCode.OK
        assert theirs == await answer(house, method, request("bWFkZSB1cA"))


async def test_another_users_request_id_replays_nothing(house: House):
    request = chat_pb.ChatRequest(text="A secret.", request_id=str(uuid.uuid4()))
    hers = [event async for event in house.chat.Chat(request, metadata=USER)]
    his = [event async for event in house.chat.Chat(request, metadata=STRANGER)]
    assert not his[0].started.replayed
    assert his[0].started.conversation != hers[0].started.conversation
    assert len(house.engine.requests) == 2


class TestWhileAReplyIsGenerated:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(["one", " two"], pause_after=1)

    @pytest.mark.parametrize("method", ABOUT_A_CONVERSATION)
    async def test_a_stranger_cannot_tell_that_there_is_a_conversation(self, house: House, method: str):
        stream = aiter(house.chat.Chat(chat_pb.ChatRequest(text="A secret."), metadata=USER))
        hers = (await anext(stream)).started.conversation
        unknown = nobodys(hers)
        theirs = await answer(house, method, ABOUT_A_CONVERSATION[method](hers))
        none = await answer(house, method, ABOUT_A_CONVERSATION[method](unknown))
        assert errors.ConversationNotFound.reason.encode() in dict(theirs.metadata)[errors.STATUS_DETAILS_KEY]
        assert theirs.without(hers) == none.without(unknown)
        house.engine.resume.set()
        assert [event async for event in stream][-1].HasField("finished")
