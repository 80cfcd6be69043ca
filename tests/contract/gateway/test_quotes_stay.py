"""What was recalled for a message stays with it, so that the next prompt goes on from the whole of this one."""

from __future__ import annotations

import pytest

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from services.inference.engine.fake import FakeEngine
from tests.contract.gateway.house import USER, House

FACT = "I grow tomatoes on my balcony."
RECALLED = chat_pb.ContextSection.KIND_RECALLED


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> FakeEngine:
    return getattr(request, "param", FakeEngine())


async def talk_about(house: House) -> str:
    """Returns a conversation whose first message had the fact quoted with it."""
    await house.say(FACT)
    conversation = (await house.say("What of tomatoes on my balcony?"))[0].started.conversation
    assert f"user: {FACT}" in house.prompt()
    return conversation


async def test_the_next_prompt_goes_on_from_the_whole_of_this_one_and_quotes_nothing_twice(house: House):
    conversation = await talk_about(house)
    first = house.prompt()
    events = await house.say("And which tomatoes on my balcony?", conversation)
    assert house.prompt().startswith(f"{first}Hello there.\n<user>")
    assert house.prompt().count(FACT) == 1
    assert FACT in [hit.message.content for hit in events[0].started.recalled]
    last = house.prompt()
    await house.say("Go on.", conversation)
    assert house.prompt().startswith(f"{last}Hello there.\n<user>")


async def test_the_context_call_shows_quotes_where_they_stand_and_counts_them(house: House):
    conversation = await talk_about(house)
    shown = await house.context("Go on.", conversation)
    kinds = [section.kind for section in shown.sections]
    assert kinds[:3] == [RECALLED, chat_pb.ContextSection.KIND_RECENT, chat_pb.ContextSection.KIND_RECENT]
    assert FACT in shown.sections[0].content
    await house.say("Go on.", conversation)
    assert shown.prompt_tokens == len(house.engine.requests[-1].prompt)
    assert shown.prompt_tokens >= sum(section.token_count for section in shown.sections)
    assert all(section.token_count > 0 for section in shown.sections)


async def test_what_is_deleted_is_in_no_prompt_from_then_on(house: House):
    conversation = await talk_about(house)
    listed = await house.chat.ListConversations(chat_pb.ChatServiceListConversationsRequest(), metadata=USER)
    (told,) = [each.name for each in listed.conversations if each.name != conversation]
    await house.chat.DeleteConversation(chat_pb.ChatServiceDeleteConversationRequest(conversation=told), metadata=USER)
    await house.say("Go on.", conversation)
    assert FACT not in house.prompt()
    assert "What of tomatoes" in house.prompt()


async def test_without_recall_a_prompt_has_no_quotes_of_earlier_turns_either(house: House):
    conversation = await talk_about(house)
    await house.say("Go on.", conversation, recall=chat_pb.RecallConfig(enabled=False))
    assert FACT not in house.prompt()


async def test_a_reply_that_is_generated_anew_stays_with_its_own_quotes(house: House):
    conversation = await talk_about(house)
    request = chat_pb.RegenerateRequest(conversation=conversation)
    assert [event async for event in house.chat.Regenerate(request, metadata=USER)]
    anew = house.prompt()
    assert anew.count(FACT) == 1
    await house.say("Go on.", conversation)
    assert house.prompt().startswith(f"{anew}Hello there.\n<user>")


async def test_nobody_has_a_message_of_another_user_quoted_by_naming_it(house: House):
    bob = (("x-user-id-bin", b"bob"),)
    events = [event async for event in house.chat.Chat(chat_pb.ChatRequest(text="The code is 1234."), metadata=bob)]
    conversation = (await house.say("Hi"))[0].started.conversation
    messages = [
        message_pb.ChatMessage(role=message_pb.ROLE_USER, content="What is the code?"),
        message_pb.ChatMessage(
            role=message_pb.ROLE_ASSISTANT, content="I see.", quotes=[events[0].started.message.name]
        ),
    ]
    await house.chat.AppendMessages(
        chat_pb.ChatServiceAppendMessagesRequest(conversation=conversation, messages=messages), metadata=USER
    )
    await house.say("Go on.", conversation)
    assert "What is the code?" in house.prompt()
    assert "1234" not in house.prompt()


@pytest.mark.parametrize("engine", [FakeEngine(context_tokens=400)], indirect=True)
async def test_where_the_window_overflows_quotes_make_room_before_any_message_does(house: House):
    for kind in ("tomatoes", "potatoes", "cucumbers"):
        for n in range(6):
            await house.say(
                f"{kind} number {n}: " + f"{kind} word {n} " * 6, recall=chat_pb.RecallConfig(enabled=False)
            )
    conversation, prompts = "", []
    for kind in ("tomatoes", "potatoes", "cucumbers", "tomatoes"):
        events = await house.say(f"What of {kind}?", conversation)
        conversation = events[0].started.conversation
        assert events[0].started.prompt_tokens <= 350
        prompts.append(house.prompt())
    assert prompts[1].startswith(prompts[0])
    assert "user: potatoes number" in prompts[1]
    # There is no room for more: from here on what was quoted so far is left out, and all that was said is there.
    assert "user: tomatoes number" not in prompts[2]
    assert "user: potatoes number" not in prompts[2]
    assert "user: cucumbers number" in prompts[2]
    assert all(f"What of {kind}?" in prompts[2] for kind in ("tomatoes", "potatoes", "cucumbers"))
    assert prompts[3].startswith(prompts[2])
    found = await house.memory.GetConversation(
        memory_pb.GetConversationRequest(user_id="анна", conversation=conversation)
    )
    assert found.conversation.window_start_sequence == 1
