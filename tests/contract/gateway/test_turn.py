"""One turn: what is stored, when, and what the model is shown."""

from __future__ import annotations

import asyncio
import itertools
import uuid

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.inference_service_pb2 import ResponseFormat, SamplingConfig
from services.inference.engine.fake import REFUSED_TEXT, FakeEngine
from services.rpc import errors
from tests.contract.gateway.house import USER, House

PAUSING = pytest.mark.parametrize("engine", [FakeEngine([" one", " two", " three"], pause_after=2)], indirect=True)
"""Replies wait after two words until the test lets them go on."""


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> FakeEngine:
    script: FakeEngine = getattr(request, "param", FakeEngine())
    # Parameters are made once, engines must not be shared between tests.
    return FakeEngine(
        script._reply,
        context_tokens=script.model.context_tokens,
        pause_after=script._pause_after,
        die_after=script._die_after,
    )


async def refused(call) -> errors.ChatbotError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return errors.from_rpc_error(failure.value)


async def stored(house: House, conversation: str, count: int) -> list[message_pb.ChatMessage]:
    """Waits until a conversation has so many messages and returns them."""
    async with asyncio.timeout(20):
        while len(messages := await house.history(conversation)) < count:
            await asyncio.sleep(0.01)
    return messages


async def test_a_turn_stores_the_message_and_the_reply_and_streams_what_it_stored(house: House):
    events = await house.say("Hi")
    assert [event.WhichOneof("event") for event in events] == ["started", *["delta"] * (len(events) - 2), "finished"]
    started, finished = events[0].started, events[-1].finished
    assert "".join(e.delta.text for e in events) == "Hello there." == finished.message.content
    assert finished.message.finish_reason == message_pb.FINISH_REASON_EOS
    assert await house.history(started.conversation) == [started.message, finished.message]


@PAUSING
async def test_the_users_message_is_stored_before_the_reply_is_generated(house: House):
    stream = aiter(house.chat.Chat(chat_pb.ChatRequest(text="Hi"), metadata=USER))
    started = (await anext(stream)).started
    assert [m.content for m in await house.history(started.conversation)] == ["Hi"]
    house.engine.resume.set()
    assert [event async for event in stream][-1].HasField("finished")


@PAUSING
async def test_a_stopped_reply_frees_the_engine_and_is_kept_as_far_as_it_got(house: House):
    call = house.chat.Chat(chat_pb.ChatRequest(text="Hi"), metadata=USER)
    stream = aiter(call)
    conversation = (await anext(stream)).started.conversation
    heard = (await anext(stream)).delta.text
    call.cancel()
    _, reply = await stored(house, conversation, 2)
    assert reply.content.startswith(heard)
    assert reply.finish_reason == message_pb.FINISH_REASON_CANCELLED
    assert reply.usage.completion_tokens == 2
    assert house.engine.load().running == 0


@PAUSING
async def test_a_deadline_ends_the_reply_with_its_own_reason(house: House):
    request = chat_pb.ChatRequest(text="Hi")
    events = [event async for event in house.chat.Chat(request, metadata=USER, timeout=2)]
    reply = events[-1].finished.message
    assert (reply.content, reply.finish_reason) == (" one two", message_pb.FINISH_REASON_DEADLINE)


@pytest.mark.parametrize("engine", [FakeEngine([" one", " two", " three"], die_after=2)], indirect=True)
async def test_a_lost_engine_ends_the_reply_with_what_had_arrived(house: House):
    events = await house.say("Hi")
    reply = events[-1].finished.message
    assert (reply.content, reply.finish_reason) == (" one two", message_pb.FINISH_REASON_ENGINE_LOST)
    assert (await house.history(events[0].started.conversation))[-1] == reply


@pytest.mark.parametrize("engine", [FakeEngine(die_after=0)], indirect=True)
async def test_an_engine_lost_before_its_first_word_is_an_error_and_the_message_is_kept(house: House):
    request_id = str(uuid.uuid4())
    error = await refused(house.say("Hi", request_id=request_id))
    assert isinstance(error, errors.Unavailable)
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    assert [m.content for m in await house.history(listed.conversations[0].name)] == ["Hi"]


@PAUSING
async def test_a_second_turn_at_once_is_told_that_the_conversation_is_busy(house: House):
    stream = aiter(house.chat.Chat(chat_pb.ChatRequest(text="Hi"), metadata=USER))
    conversation = (await anext(stream)).started.conversation
    error = await refused(house.say("And now?", conversation))
    assert isinstance(error, errors.ConversationBusy)
    assert error.retry_after == 1.0
    house.engine.resume.set()
    async for _ in stream:
        pass
    assert [m.content for m in await house.history(conversation)] == ["Hi", " one two three"]
    await house.say("And now?", conversation)


async def test_a_repeated_request_replays_and_does_not_generate(house: House):
    request_id = str(uuid.uuid4())
    first = await house.say("Hi", request_id=request_id)
    again = await house.say("Hi", request_id=request_id)
    assert again[0].started.replayed
    assert again[0].started.message == first[0].started.message
    assert again[-1].finished.message == first[-1].finished.message
    assert len(house.engine.requests) == 1


@PAUSING
async def test_a_repeated_request_while_the_first_is_under_way_is_told_so(house: House):
    request = chat_pb.ChatRequest(text="Hi", request_id=str(uuid.uuid4()))
    stream = aiter(house.chat.Chat(request, metadata=USER))
    await anext(stream)
    again = [event async for event in _until_refused(house, request)]
    assert isinstance(again[-1], errors.ConversationBusy)
    assert len(house.engine.requests) == 1
    house.engine.resume.set()


async def _until_refused(house: House, request: chat_pb.ChatRequest):
    try:
        async for event in house.chat.Chat(request, metadata=USER):
            yield event
    except grpc.aio.AioRpcError as failure:
        yield errors.from_rpc_error(failure)


async def test_a_request_id_with_another_text_is_refused(house: House):
    request_id = str(uuid.uuid4())
    first = await house.say("Hi", request_id=request_id)
    error = await refused(house.say("Bye", request_id=request_id))
    assert isinstance(error, errors.RequestIdReused)
    assert len(await house.history(first[0].started.conversation)) == 2


async def test_a_turn_that_was_lost_before_its_reply_is_taken_up_by_the_same_request(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    request_id = str(uuid.uuid4())
    # What a gateway leaves behind that goes down between message and reply.
    await house.memory.AppendMessages(
        memory_pb.AppendMessagesRequest(
            user_id="анна",
            conversation=conversation,
            messages=[message_pb.ChatMessage(role=message_pb.ROLE_USER, content="And you?")],
            request_id=request_id,
            expected_last_sequence=2,
        )
    )
    events = await house.say("And you?", conversation, request_id=request_id)
    assert not events[0].started.replayed
    assert [m.content for m in await house.history(conversation)][2:] == ["And you?", "Hello there."]
    assert house.prompt().count("And you?") == 1


async def test_an_unanswered_message_is_said_together_with_the_next(house: House):
    conversation = (await house.say("Hi"))[0].started.conversation
    await house.memory.AppendMessages(
        memory_pb.AppendMessagesRequest(
            user_id="анна",
            conversation=conversation,
            messages=[message_pb.ChatMessage(role=message_pb.ROLE_USER, content="First half,")],
            request_id=str(uuid.uuid4()),
        )
    )
    await house.say("second half.", conversation)
    assert house.prompt().endswith("<user>First half,\n\nsecond half.\n<assistant>")


async def test_the_prompt_holds_the_conversation_word_for_word_and_in_order(house: House):
    conversation = (await house.say("Меня зовут Анна."))[0].started.conversation
    await house.say("Как меня зовут?", conversation, recall=chat_pb.RecallConfig(enabled=False))
    assert house.prompt() == ("\n<user>Меня зовут Анна.\n<assistant>Hello there.\n<user>Как меня зовут?\n<assistant>")


async def test_the_system_prompt_of_the_conversation_comes_first(house: House):
    created = await house.chat.CreateConversation(
        chat_pb.ChatServiceCreateConversationRequest(
            conversation=memory_pb.Conversation(system_prompt="Be brief.", title="Garden")
        ),
        metadata=USER,
    )
    await house.say("Hi", created.conversation.name)
    assert house.prompt().startswith("\n<system>Be brief.\n<user>Hi")
    changed = await house.chat.UpdateConversation(
        chat_pb.ChatServiceUpdateConversationRequest(
            conversation=memory_pb.Conversation(name=created.conversation.name, system_prompt="Be long."),
            update_mask=FieldMask(paths=["system_prompt"]),
        ),
        metadata=USER,
    )
    assert (changed.conversation.title, changed.conversation.system_prompt) == ("Garden", "Be long.")


async def test_a_message_of_another_conversation_is_recalled_as_a_quotation(house: House):
    await house.say("I grow tomatoes on my balcony.")
    events = await house.say("tomatoes on my balcony?")
    assert "I grow tomatoes on my balcony." in [hit.message.content for hit in events[0].started.recalled]
    prompt = house.prompt()
    assert "user: I grow tomatoes on my balcony.\n\ntomatoes on my balcony?" in prompt
    assert "<system>" not in prompt


async def test_what_is_in_the_window_is_not_recalled_again(house: House):
    conversation = (await house.say("I grow tomatoes on my balcony."))[0].started.conversation
    shown = await house.context("tomatoes on my balcony?", conversation)
    assert not shown.recalled
    assert [s.kind for s in shown.sections].count(chat_pb.ContextSection.KIND_RECENT) == 2


async def test_recall_can_be_turned_off(house: House):
    await house.say("I grow tomatoes on my balcony.")
    shown = await house.context("tomatoes on my balcony?", recall=chat_pb.RecallConfig(enabled=False))
    assert not shown.recalled


async def test_recall_keeps_to_the_tokens_it_is_given(house: House):
    await house.say("I grow tomatoes " + "very " * 50 + "well.")
    await house.say("I grow tomatoes.")
    shown = await house.context("tomatoes I grow", recall=chat_pb.RecallConfig(max_tokens=20))
    assert [hit.message.content for hit in shown.recalled] == ["I grow tomatoes."]


async def test_the_context_call_shows_the_prompt_that_the_turn_then_has(house: House):
    conversation = (await house.say("I grow tomatoes on my balcony."))[0].started.conversation
    shown = await house.context("And what else?", conversation)
    before = await house.history(conversation)
    await house.say("And what else?", conversation)
    assert [s.content for s in shown.sections] == [*(m.content for m in before), "And what else?"]
    assert all(s.content in house.prompt() for s in shown.sections)
    assert shown.prompt_tokens == len(house.engine.requests[-1].prompt)
    assert shown.prompt_tokens >= sum(s.token_count for s in shown.sections)


@pytest.mark.parametrize("engine", [FakeEngine([" word"] * 20, context_tokens=400)], indirect=True)
async def test_a_long_conversation_keeps_its_prompts_within_the_context_and_cuts_rarely(house: House):
    conversation, starts = "", []
    no_recall = chat_pb.RecallConfig(enabled=False)
    for turn in range(40):
        events = await house.say(f"question {turn} " + "word " * 10, conversation, recall=no_recall)
        conversation = events[0].started.conversation
        assert events[0].started.prompt_tokens <= 350
        found = await house.chat.GetConversation(
            chat_pb.ChatServiceGetConversationRequest(conversation=conversation), metadata=USER
        )
        starts.append(found.conversation.window_start_sequence)
    cuts = sum(later != earlier for earlier, later in itertools.pairwise(starts))
    assert 2 <= cuts <= 8
    prompts = [house.prompt(n) for n in range(40)]
    extending = sum(
        later.startswith(earlier.removesuffix("\n<assistant>")) for earlier, later in itertools.pairwise(prompts)
    )
    assert extending == 39 - cuts


@pytest.mark.parametrize("engine", [FakeEngine([" word"] * 20, context_tokens=400)], indirect=True)
async def test_what_has_left_the_window_is_recalled(house: House):
    conversation = (await house.say("My boat is called Ласточка."))[0].started.conversation
    for turn in range(15):
        await house.say(f"question {turn} " + "filler " * 10, conversation)
    shown = await house.context("What is my boat called?", conversation)
    assert shown.window_start_sequence > 1
    assert "My boat is called Ласточка." in [hit.message.content for hit in shown.recalled]
    assert all(hit.message.sequence < shown.window_start_sequence for hit in shown.recalled)


@pytest.mark.parametrize("engine", [FakeEngine(context_tokens=60)], indirect=True)
async def test_a_prompt_over_the_context_is_refused_before_anything_is_stored(house: House):
    error = await refused(house.say("word " * 100))
    assert isinstance(error, errors.ContextTooLong)
    assert int(error.metadata["n_prompt"]) > 100
    assert error.metadata["n_context"] == "60"
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    assert not listed.conversations
    conversation = (await house.say("Hi"))[0].started.conversation
    assert isinstance(await refused(house.say("word " * 100, conversation)), errors.ContextTooLong)
    assert len(await house.history(conversation)) == 2
    # It was held while the prompt was built, and is let go.
    await house.say("Hi again", conversation)
    assert len(await house.history(conversation)) == 4


async def test_what_is_counted_of_a_conversation_is_counted_for_it_alone(house: House):
    first, second = [(await house.say(text))[0].started.conversation for text in ("Hi", "Hello")]
    keys = {}
    for conversation in (first, second):
        before = len(house.engine.counted_for)
        await house.say("And now?", conversation)
        keys[conversation] = house.engine.requests[-1].cache_key
        assert set(house.engine.counted_for[before:]) == {keys[conversation]}
    assert keys[first] != keys[second]


async def test_what_the_chat_template_cannot_take_is_refused_before_anything_is_stored(house: House):
    error = await refused(house.say(REFUSED_TEXT))
    assert isinstance(error, errors.InvalidArgument)
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    assert not listed.conversations


async def test_sampling_reaches_the_engine_as_it_was_asked_for(house: House):
    sampling = SamplingConfig(temperature=0.5, top_k=7, seed=11, max_tokens=2, stop=["zzz"])
    events = await house.say("Hi", sampling=sampling)
    got = house.engine.requests[-1].sampling
    assert (got.temperature, got.top_k, got.seed, got.max_tokens, got.stop) == (0.5, 7, 11, 2, ("zzz",))
    assert events[0].started.sampling.seed == 11
    assert events[-1].finished.message.finish_reason == message_pb.FINISH_REASON_MAX_TOKENS


async def test_a_reply_has_the_form_that_was_asked_for(house: House):
    form = ResponseFormat(json_schema='{"type": "object"}')
    conversation = (await house.say("Hi", response_format=form))[0].started.conversation
    assert house.engine.requests[-1].json_schema == form.json_schema
    await house.say("In your own words?", conversation)
    assert house.engine.requests[-1].json_schema is None
    again = chat_pb.RegenerateRequest(conversation=conversation, response_format=form)
    assert [event async for event in house.chat.Regenerate(again, metadata=USER)][-1].HasField("finished")
    assert house.engine.requests[-1].json_schema == form.json_schema


@pytest.mark.parametrize("schema", ["no JSON", "[]", f'{{"title": "{REFUSED_TEXT}"}}'])
async def test_a_form_that_cannot_be_held_to_is_refused_before_anything_is_stored(house: House, schema: str):
    error = await refused(house.say("Hi", response_format=ResponseFormat(json_schema=schema)))
    assert isinstance(error, errors.InvalidArgument)
    assert [violation.field for violation in error.violations] == ["response_format.json_schema"]
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    assert not listed.conversations


async def test_a_reply_tells_how_probable_its_tokens_were_where_that_is_asked_for(house: House):
    request_id = str(uuid.uuid4())
    events = await house.say("Hi", sampling=SamplingConfig(logprobs=2), request_id=request_id)
    tokens = [token for event in events for token in event.delta.logprobs]
    assert b"".join(token.token for token in tokens).decode() == "Hello there."
    assert {len(token.top) for token in tokens} == {2}
    for others in (await house.say("Hi"), await house.say("Hi", request_id=request_id)):
        assert not any(event.delta.logprobs for event in others)


@pytest.mark.parametrize("engine", [FakeEngine([])], indirect=True)
async def test_a_reply_without_a_word_is_an_outcome_like_any_other(house: House):
    request_id = str(uuid.uuid4())
    events = await house.say("Hi", request_id=request_id)
    assert [event.WhichOneof("event") for event in events] == ["started", "finished"]
    assert events[-1].finished.message.content == ""
    again = await house.say("Hi", request_id=request_id)
    assert again[0].started.replayed
    assert len(house.engine.requests) == 1
    await house.say("Hello?", events[0].started.conversation)


async def test_turns_of_different_conversations_run_at_once(house: House):
    replies = await asyncio.gather(*(house.say(f"Hi {n}") for n in range(20)))
    conversations = {events[0].started.conversation for events in replies}
    assert len(conversations) == 20
    for events in replies:
        kept = await house.history(events[0].started.conversation)
        assert [m.content for m in kept] == [events[0].started.message.content, "Hello there."]
