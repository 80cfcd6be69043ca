"""Summaries and titles that the model makes in the background, over real sockets."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from services.gateway.background import BackgroundWork
from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.engine.fake import FakeEngine
from services.rpc import errors
from services.rpc.channel import open_channel
from services.rpc.server import Server
from tests.contract.gateway.house import USER, House

NO_RECALL = chat_pb.RecallConfig(enabled=False)
SUMMARY = chat_pb.ContextSection.KIND_SUMMARY


def scripted(prompt: str) -> list[str]:
    """Sums up by naming the last message that it is to sum up; entitles by the first one."""
    if "The notes, anew:" in prompt:
        material = prompt.partition("<conversation>")[2].partition("</conversation>")[0].strip()
        questions = [line for line in material.splitlines() if line.startswith("user:")]
        return ["Asked", " up", " to", f" {questions[-1].split()[2]}."]
    if "The title:" in prompt:
        return ['"On', " peas", ' and beans."']
    return [" word"] * 20


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(scripted, context_tokens=700)


@pytest.fixture
def gateway_settings(request: pytest.FixtureRequest) -> dict[str, object]:
    return {"summaries": getattr(request, "param", "on")}


@pytest.fixture(autouse=True)
def background(monkeypatch: pytest.MonkeyPatch) -> list[BackgroundWork]:
    """The background work of every gateway that is started."""
    made: list[BackgroundWork] = []

    def make() -> BackgroundWork:
        made.append(BackgroundWork())
        return made[-1]

    monkeypatch.setattr("services.gateway.service.BackgroundWork", make)
    return made


async def conversation_of(house: House, name: str) -> memory_pb.Conversation:
    request = chat_pb.ChatServiceGetConversationRequest(conversation=name)
    return (await house.chat.GetConversation(request, metadata=USER)).conversation


async def talk(house: House, background: list[BackgroundWork], turns: int, conversation: str = "") -> str:
    """Has turns, each of them after what the last one made due is done."""
    for turn in range(turns):
        events = await house.say(f"question {turn} " + "word " * 10, conversation, recall=NO_RECALL)
        conversation = events[0].started.conversation
        for work in background:
            await work.settle()
    return conversation


def turns_of(house: House) -> list[str]:
    """Returns the prompts of turns, those of the background's own left out."""
    prompts = [house.prompt(n) for n in range(len(house.engine.requests))]
    return [prompt for prompt in prompts if "The notes, anew:" not in prompt and "The title:" not in prompt]


async def test_what_leaves_the_window_is_summed_up_and_prompts_begin_anew_only_when_the_window_moves(
    house: House, background: list[BackgroundWork]
):
    conversation, starts = "", []
    for turn in range(40):
        events = await house.say(f"question {turn} " + "word " * 10, conversation, recall=NO_RECALL)
        conversation = events[0].started.conversation
        # Where the turn's own prompt begins: what the background changes is for the next one.
        assert events[0].started.prompt_tokens <= 650
        await background[0].settle()
        starts.append((await conversation_of(house, conversation)).window_start_sequence)
    state = await conversation_of(house, conversation)
    assert state.summary_through_sequence == state.window_start_sequence - 1
    assert state.summary == f"Asked up to {state.summary_through_sequence // 2 - 1}."
    shown = await house.context("And now?", conversation, recall=NO_RECALL)
    (section,) = [s for s in shown.sections if s.kind == SUMMARY]
    assert state.summary in section.content
    assert section.token_count > 0
    moves = sum(later != earlier for earlier, later in itertools.pairwise(starts[:-1]))
    assert moves >= 2
    prompts = turns_of(house)
    extending = sum(
        later.startswith(earlier.removesuffix("\n<assistant>")) for earlier, later in itertools.pairwise(prompts)
    )
    assert extending == 39 - moves


async def test_the_old_summary_and_what_was_cut_since_make_the_new_one(house: House, background: list[BackgroundWork]):
    await talk(house, background, 40)
    asked = [house.prompt(n) for n in range(len(house.engine.requests)) if "The notes, anew:" in house.prompt(n)]
    assert len(asked) >= 2
    assert "(none)" in asked[0]
    assert "question 0 " in asked[0]
    assert scripted(asked[0])[-1].strip() in asked[1].partition("</notes>")[0]
    assert "question 0 " not in asked[1]


async def test_work_that_was_lost_is_done_after_the_next_turn(house: House, background: list[BackgroundWork]):
    background[0].offer = lambda *_: None
    conversation = await talk(house, background, 30)
    state = await conversation_of(house, conversation)
    assert (state.summary_through_sequence, state.window_start_sequence > 1) == (0, True)
    del background[0].offer
    await talk(house, background, 1, conversation)
    state = await conversation_of(house, conversation)
    assert state.summary_through_sequence == state.window_start_sequence - 1 > 0


async def test_what_is_summed_up_is_still_found(house: House, background: list[BackgroundWork]):
    conversation = (await house.say("My boat is called Ласточка."))[0].started.conversation
    await talk(house, background, 40, conversation)
    shown = await house.context("What is my boat called?", conversation)
    assert shown.window_start_sequence > 1
    assert "My boat is called Ласточка." in [hit.message.content for hit in shown.recalled]


@pytest.mark.parametrize("gateway_settings", ["off", "auto"], indirect=True)
async def test_without_it_and_with_a_small_model_the_model_is_asked_nothing(
    house: House, background: list[BackgroundWork]
):
    conversation = await talk(house, background, 30)
    state = await conversation_of(house, conversation)
    assert (state.summary, state.summary_through_sequence) == ("", 0)
    assert state.window_start_sequence > 1
    assert state.title.startswith("question 0")
    assert len(house.engine.requests) == 30


async def test_a_new_conversation_gets_a_title_from_the_model(house: House, background: list[BackgroundWork]):
    conversation = await talk(house, background, 2)
    state = await conversation_of(house, conversation)
    assert (state.title, state.title_source) == ("On peas and beans", memory_pb.TITLE_SOURCE_MODEL)
    assert sum("The title:" in house.prompt(n) for n in range(len(house.engine.requests))) == 1


async def test_a_title_that_the_user_has_given_stays(house: House, background: list[BackgroundWork]):
    created = chat_pb.ChatServiceCreateConversationRequest(conversation=memory_pb.Conversation(title="Mine"))
    conversation = (await house.chat.CreateConversation(created, metadata=USER)).conversation.name
    await talk(house, background, 2, conversation)
    assert (await conversation_of(house, conversation)).title == "Mine"


async def test_a_title_that_the_user_gives_while_the_model_thinks_of_one_stays(
    house: House, background: list[BackgroundWork]
):
    waiting: list[Callable[[], Awaitable[None]]] = []
    background[0].offer = lambda _key, work: waiting.append(work)
    conversation = (await house.say("Hi"))[0].started.conversation
    rename = chat_pb.ChatServiceUpdateConversationRequest(
        conversation=memory_pb.Conversation(name=conversation, title="Mine"),
        update_mask=FieldMask(paths=["title"]),
    )
    await house.chat.UpdateConversation(rename, metadata=USER)
    (entitle,) = waiting
    with pytest.raises(errors.ConversationChanged):
        await entitle()
    assert (await conversation_of(house, conversation)).title == "Mine"


async def test_deleting_a_conversation_while_it_is_summed_up_leaves_nothing(
    house: House, background: list[BackgroundWork]
):
    conversation = await talk(house, background, 1)
    delete = chat_pb.ChatServiceDeleteConversationRequest(conversation=conversation, request_id=str(uuid.uuid4()))
    await house.chat.DeleteConversation(delete, metadata=USER)
    await background[0].settle()
    export = house.chat.ExportMessages(chat_pb.ChatServiceExportMessagesRequest(), metadata=USER)
    assert [record async for record in export] == []


async def test_of_two_gateways_that_sum_up_the_same_one_stores_it(house: House, background: list[BackgroundWork]):
    settings = GatewaySettings(
        gateway_grpc_port=0,
        gateway_http_port=0,
        memory_address=f"127.0.0.1:{house.servers['memory'].port}",
        inference_address=f"127.0.0.1:{house.servers['inference'].port}",
        reply_reserve_tokens=50,
        summaries="on",
    )
    other = Server(GatewayService(settings), settings)
    await other.bind()
    await other.start()
    async with open_channel(f"127.0.0.1:{other.port}") as channel:
        second = House(house.engine, house.servers, ChatServiceStub(channel), house.memory, house.http_address)
        conversation = ""
        for turn in range(40):
            speaker = (house, second)[turn % 2]
            events = await speaker.say(f"question {turn} " + "word " * 10, conversation, recall=NO_RECALL)
            conversation = events[0].started.conversation
        for work in background:
            await work.settle()
    await other.stop(0)
    state = await conversation_of(house, conversation)
    assert state.summary_through_sequence < state.window_start_sequence
    assert state.summary == f"Asked up to {state.summary_through_sequence // 2 - 1}."
