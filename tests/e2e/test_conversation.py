"""The main job on real input: say something, get the reply as it is generated, and have it remembered."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.inference_service_pb2 import SamplingConfig
from services.rpc import errors
from tests.e2e.stack import Doors, Stack

GREEDY = SamplingConfig(temperature=0, max_tokens=60)


async def say(doors: Doors, text: str, conversation: str = "", **fields: object) -> list[chat_pb.ChatResponse]:
    """Says something and returns the events of the reply."""
    fields.setdefault("sampling", GREEDY)
    request = chat_pb.ChatRequest(conversation=conversation, text=text, **fields)
    return [event async for event in doors.chat.Chat(request, metadata=doors.metadata)]


def joined(events: list[chat_pb.ChatResponse]) -> str:
    return "".join(event.delta.text for event in events if event.HasField("delta"))


async def history(doors: Doors, conversation: str) -> list[message_pb.ChatMessage]:
    request = chat_pb.ChatServiceListMessagesRequest(conversation=conversation, page_size=1000)
    return list((await doors.chat.ListMessages(request, metadata=doors.metadata)).messages)


async def conversations(doors: Doors) -> list[memory_pb.Conversation]:
    request = chat_pb.ChatServiceListConversationsRequest()
    return list((await doors.chat.ListConversations(request, metadata=doors.metadata)).conversations)


async def test_a_question_is_answered_as_a_stream_and_kept(doors: Doors):
    events = await say(doors, "What is the capital of France?")
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert set(kinds[1:-1]) == {"delta"}
    assert len(kinds) > 4, "the reply came in one piece"
    assert "Paris" in joined(events)

    started, finished = events[0].started, events[-1].finished
    assert started.prompt_tokens > 0
    assert started.sampling.HasField("seed")
    assert finished.message.content == joined(events)
    assert finished.message.finish_reason == message_pb.FINISH_REASON_EOS
    assert finished.message.reply_to == started.message.name
    assert finished.message.usage.prompt_tokens == started.prompt_tokens
    assert finished.timings.tokens_per_second > 0

    kept = await history(doors, started.conversation)
    assert [(m.role, m.sequence) for m in kept] == [(message_pb.ROLE_USER, 1), (message_pb.ROLE_ASSISTANT, 2)]
    assert kept == [started.message, finished.message]


async def test_what_was_said_before_a_restart_is_recalled_in_a_new_conversation(stack: Stack, doors: Doors):
    told = "I grow tomatoes on my balcony."
    await say(doors, told)
    stack.stop()
    stack.start()

    request = chat_pb.GetContextRequest(text="What do I grow?")
    shown = await doors.chat.GetContext(request, metadata=doors.metadata)
    assert told in [hit.message.content for hit in shown.recalled]
    recalled = [s for s in shown.sections if s.kind == chat_pb.ContextSection.KIND_RECALLED]
    assert len(recalled) == 1
    assert told in recalled[0].content
    assert recalled[0].role == message_pb.ROLE_USER

    events = await say(doors, "What do I grow?")
    assert told in [hit.message.content for hit in events[0].started.recalled]


async def test_a_russian_question_goes_through_whole(doors: Doors):
    said = "Привет! Я выращиваю помидоры на балконе. 🍅"
    events = await say(doors, said)
    conversation = events[0].started.conversation
    assert [m.content for m in await history(doors, conversation)] == [said, joined(events)]
    assert "\ufffd" not in joined(events)
    found = await doors.chat.SearchMessages(
        chat_pb.ChatServiceSearchMessagesRequest(query="помидоры на балконе"), metadata=doors.metadata
    )
    assert said in [hit.message.content for hit in found.hits[:2]]


async def test_the_next_turn_extends_the_prompt_of_the_last(doors: Doors):
    events = await say(doors, "My name is Anna.")
    conversation = events[0].started.conversation
    await say(doors, "And I live in Kazan.", conversation)
    request = chat_pb.GetContextRequest(conversation=conversation, text="Where do I live?")
    shown = await doors.chat.GetContext(request, metadata=doors.metadata)
    recent = [s.content for s in shown.sections if s.kind == chat_pb.ContextSection.KIND_RECENT]
    assert recent == [m.content for m in await history(doors, conversation)]
    assert shown.sections[-1].content == "Where do I live?"


async def test_a_repeated_request_replays_the_stored_reply_and_generates_nothing(doors: Doors):
    request_id = str(uuid.uuid4())
    sampling = SamplingConfig(temperature=1, max_tokens=30)
    first = await say(doors, "Tell me a story.", request_id=request_id, sampling=sampling)
    again = await say(doors, "Tell me a story.", request_id=request_id, sampling=sampling)
    assert again[0].started.replayed
    assert again[0].started.conversation == first[0].started.conversation
    assert joined(again) == joined(first)
    assert again[-1].finished.message == first[-1].finished.message
    assert len(await history(doors, first[0].started.conversation)) == 2


async def test_the_same_seed_gives_the_same_reply(doors: Doors):
    sampling = SamplingConfig(temperature=1, seed=7, max_tokens=20)
    recall = chat_pb.RecallConfig(enabled=False)
    replies = [joined(await say(doors, "Tell me a story.", sampling=sampling, recall=recall)) for _ in range(2)]
    assert replies[0] == replies[1]


async def test_a_stop_string_and_the_token_limit_end_a_reply_as_asked(doors: Doors):
    question = "What is the capital of France?"
    stopped = await say(doors, question, sampling=SamplingConfig(temperature=0, stop=["Par"], max_tokens=60))
    assert stopped[-1].finished.message.finish_reason == message_pb.FINISH_REASON_STOP_STRING
    assert joined(stopped) == "The capital of France is "
    cut = await say(doors, "Tell me a story.", sampling=SamplingConfig(temperature=0, max_tokens=5))
    assert cut[-1].finished.message.finish_reason == message_pb.FINISH_REASON_MAX_TOKENS
    assert cut[-1].finished.message.usage.completion_tokens == 5


async def test_a_regenerated_reply_takes_the_place_of_the_old_one(doors: Doors):
    events = await say(doors, "Tell me a story.", sampling=SamplingConfig(temperature=1, seed=1, max_tokens=12))
    conversation = events[0].started.conversation
    request = chat_pb.RegenerateRequest(
        conversation=conversation,
        request_id=str(uuid.uuid4()),
        sampling=SamplingConfig(temperature=1, seed=2, max_tokens=12),
    )
    regenerated = [event async for event in doors.chat.Regenerate(request, metadata=doors.metadata)]
    new = regenerated[-1].finished.message
    assert new.content != joined(events)
    assert new.reply_to == events[0].started.message.name
    assert [m.content for m in await history(doors, conversation)] == ["Tell me a story.", new.content]
    replayed = [event async for event in doors.chat.Regenerate(request, metadata=doors.metadata)]
    assert replayed[-1].finished.message == new
    everything = await doors.memory.ListMessages(
        memory_pb.ListMessagesRequest(user_id=doors.user_id, conversation=conversation, include_superseded=True)
    )
    assert joined(events) in [m.content for m in everything.messages if m.superseded]


async def test_conversations_at_once_do_not_mix(doors: Doors):
    recall = chat_pb.RecallConfig(enabled=False)
    capitals = {"France": "Paris", "Germany": "Berlin", "Japan": "Tokyo"}
    asked = [f"What is the capital of {country}?" for country in capitals] * 3
    together = await asyncio.gather(*(say(doors, text, recall=recall) for text in asked))
    for events, text in zip(together, asked, strict=True):
        named = [country for country, capital in capitals.items() if capital in joined(events)]
        assert [f"What is the capital of {country}?" for country in named] == [text]
        assert [m.content for m in await history(doors, events[0].started.conversation)] == [text, joined(events)]


async def test_a_second_turn_in_a_busy_conversation_is_told_so(doors: Doors):
    events = await say(doors, "Hello.")
    conversation = events[0].started.conversation
    long = chat_pb.ChatRequest(
        conversation=conversation,
        text="Tell me a long story.",
        sampling=SamplingConfig(temperature=4, seed=3, max_tokens=400),
    )
    call = doors.chat.Chat(long, metadata=doors.metadata)
    stream = aiter(call)
    await anext(stream)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await say(doors, "And now?", conversation)
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.ConversationBusy)
    assert error.retry_after is not None
    call.cancel()


async def test_nothing_of_one_user_is_there_for_another(doors: Doors):
    events = await say(doors, "My secret garden is in Suzdal.")
    conversation = events[0].started.conversation
    stranger = (("x-user-id-bin", "чужой".encode()),)
    unknown = f"conversations/{uuid.uuid4().hex}"
    answers = []
    for name in (conversation, unknown):
        for call in (
            doors.chat.GetConversation(chat_pb.ChatServiceGetConversationRequest(conversation=name), metadata=stranger),
            doors.chat.ListMessages(chat_pb.ChatServiceListMessagesRequest(conversation=name), metadata=stranger),
            doors.chat.DeleteConversation(
                chat_pb.ChatServiceDeleteConversationRequest(conversation=name), metadata=stranger
            ),
            doors.chat.GetContext(chat_pb.GetContextRequest(conversation=name, text="x"), metadata=stranger),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            answers.append((refused.value.code(), (refused.value.details() or "").replace(name, "NAME")))
    assert answers[:4] == answers[4:]
    assert {code for code, _ in answers} == {grpc.StatusCode.NOT_FOUND}
    found = await doors.chat.SearchMessages(
        chat_pb.ChatServiceSearchMessagesRequest(query="secret garden"), metadata=stranger
    )
    assert not found.hits


async def test_a_deleted_conversation_is_gone_from_every_door_and_from_the_disk(stack: Stack, doors: Doors):
    marker = "zanzibarquokka"
    events = await say(doors, f"Remember the word {marker}.")
    conversation = events[0].started.conversation
    request = chat_pb.ChatServiceDeleteConversationRequest(conversation=conversation)
    await doors.chat.DeleteConversation(request, metadata=doors.metadata)
    assert await conversations(doors) == []
    found = await doors.chat.SearchMessages(
        chat_pb.ChatServiceSearchMessagesRequest(query=marker), metadata=doors.metadata
    )
    assert not found.hits
    on_disk = [
        path for path in stack.data_dir.rglob("*.db*") if path.is_file() and marker.encode() in path.read_bytes()
    ]
    assert on_disk == []


async def test_the_model_is_described_with_what_it_is_good_for(doors: Doors):
    answer = await doors.chat.GetModel(chat_pb.ChatServiceGetModelRequest(), metadata=doors.metadata)
    assert "SmolLM2" in answer.model.id
    assert list(answer.model.languages) == ["en"]
    assert "English" in answer.model.description
    assert answer.model.context_tokens == 8192


async def test_no_text_of_a_conversation_reaches_a_log(stack: Stack, doors: Doors):
    marker = "xylophonequagga"
    await say(doors, f"Say {marker}.")
    with pytest.raises(grpc.aio.AioRpcError):
        await say(doors, f"{marker}\0")
    assert [name for name in stack.ports if marker in stack.log(name)] == []
