"""Bad input: refused with a reason, at the front door, with nothing half-written and the services unharmed."""

from __future__ import annotations

import uuid

import grpc
import pytest

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1.inference_service_pb2 import SamplingConfig
from services.rpc import errors
from services.rpc.channel import open_channel
from tests.e2e.stack import Doors, Stack

UNKNOWN = f"conversations/{uuid.uuid4().hex}"


async def refusal(doors: Doors, request: chat_pb.ChatRequest) -> errors.ChatbotError:
    """Returns what a request is answered with, having made sure that it left nothing behind."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in doors.chat.Chat(request, metadata=doors.metadata):
            pytest.fail("an event came before the refusal")
    kept = await doors.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=doors.metadata)
    assert not kept.conversations
    return errors.from_rpc_error(refused.value)


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n\t\u2003"}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"text": "x" * 1_000_001}, "text"),
        ({"text": "Hi", "request_id": "7"}, "request_id"),
        ({"text": "Hi", "sampling": SamplingConfig(temperature=-1)}, "sampling.temperature"),
        ({"text": "Hi", "sampling": SamplingConfig(temperature=float("nan"))}, "sampling.temperature"),
        ({"text": "Hi", "sampling": SamplingConfig(top_p=float("inf"))}, "sampling.top_p"),
        ({"text": "Hi", "sampling": SamplingConfig(max_tokens=0)}, "sampling.max_tokens"),
        ({"text": "Hi", "sampling": SamplingConfig(stop=[""])}, "sampling.stop[0]"),
        ({"text": "Hi", "recall": chat_pb.RecallConfig(limit=51)}, "recall.limit"),
        ({"text": "Hi", "recall": chat_pb.RecallConfig(max_tokens=0)}, "recall.max_tokens"),
        ({"text": "Hi", "recall": chat_pb.RecallConfig(min_similarity=float("nan"))}, "recall.min_similarity"),
    ],
)
async def test_a_wrong_field_is_named(doors: Doors, request_fields: dict, field: str):
    error = await refusal(doors, chat_pb.ChatRequest(**request_fields))
    assert isinstance(error, errors.InvalidArgument)
    assert field in [violation.field for violation in error.violations]


@pytest.mark.parametrize("name", ["nonsense", "conversations/", "conversations/a/messages/b", "conversations/x y"])
async def test_a_malformed_conversation_name_is_an_invalid_argument(doors: Doors, name: str):
    error = await refusal(doors, chat_pb.ChatRequest(conversation=name, text="Hi"))
    assert isinstance(error, errors.InvalidArgument)


async def test_an_unknown_conversation_is_not_found(doors: Doors):
    error = await refusal(doors, chat_pb.ChatRequest(conversation=UNKNOWN, text="Hi"))
    assert isinstance(error, errors.ConversationNotFound)


@pytest.mark.parametrize("text", ["word " * 10_000, "x" * 1_000_000, "слово " * 9_000], ids=["words", "1MB", "russian"])
async def test_a_prompt_over_the_context_is_refused_with_both_counts(doors: Doors, text: str):
    error = await refusal(doors, chat_pb.ChatRequest(text=text))
    assert isinstance(error, errors.ContextTooLong)
    assert int(error.metadata["n_prompt"]) > int(error.metadata["n_context"]) == 8192


async def test_bytes_that_are_not_utf8_are_refused_and_the_server_lives(stack: Stack, doors: Doors):
    valid = chat_pb.ChatRequest(text="ab").SerializeToString()
    async with open_channel(f"127.0.0.1:{stack.ports['gateway']}") as channel:
        call = channel.unary_stream("/chatbot.v1.ChatService/Chat")(valid.replace(b"ab", b"\xff\xfe"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in call:
                pytest.fail("an event came before the refusal")
    assert isinstance(errors.from_rpc_error(refused.value), errors.InvalidArgument)
    await doors.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=doors.metadata)


async def test_control_characters_and_lone_marks_are_text_like_any_other(doors: Doors):
    text = "\x1b[31mred\x07 \u202e\u0301 "
    request = chat_pb.ChatRequest(text=text, sampling=SamplingConfig(max_tokens=3))
    events = [event async for event in doors.chat.Chat(request, metadata=doors.metadata)]
    assert events[0].started.message.content == text


@pytest.mark.parametrize(("page_size", "page_token"), [(-1, ""), (1001, ""), (0, "forged"), (0, "AAAA"), (0, "ÿ")])
async def test_absurd_page_sizes_and_forged_page_tokens_are_refused(doors: Doors, page_size: int, page_token: str):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await doors.chat.ListConversations(
            chat_pb.ChatServiceListConversationsRequest(page_size=page_size, page_token=page_token),
            metadata=doors.metadata,
        )
    assert isinstance(errors.from_rpc_error(refused.value), errors.InvalidArgument)


async def test_a_user_id_that_is_not_utf8_is_refused(doors: Doors):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await doors.chat.ListConversations(
            chat_pb.ChatServiceListConversationsRequest(), metadata=(("x-user-id-bin", b"\xff"),)
        )
    assert isinstance(errors.from_rpc_error(refused.value), errors.InvalidArgument)


async def test_regenerating_an_empty_conversation_says_that_there_is_nothing_to(doors: Doors):
    created = await doors.chat.CreateConversation(
        chat_pb.ChatServiceCreateConversationRequest(), metadata=doors.metadata
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in doors.chat.Regenerate(
            chat_pb.RegenerateRequest(conversation=created.conversation.name), metadata=doors.metadata
        ):
            pytest.fail("an event came before the refusal")
    assert isinstance(errors.from_rpc_error(refused.value), errors.NothingToRegenerate)
