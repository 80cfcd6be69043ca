"""Summaries and titles that the model makes in the background, over real sockets."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub
from services.gateway.background import BackgroundWork
from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.inference.engine.fake import FakeEngine
from services.inference.service import InferenceService
from services.inference.settings import InferenceSettings
from services.memory.embedder.fake import FakeEmbedder
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc import errors
from services.rpc.channel import open_channel
from services.rpc.server import Server
from tests.contract.gateway.house import USER, House

NO_RECALL = chat_pb.RecallConfig(enabled=False)
SUMMARY = chat_pb.ContextSection.KIND_SUMMARY

Open = Callable[..., contextlib.AbstractAsyncContextManager[House]]


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
def open_house(tmp_path: Path, engine: FakeEngine) -> Open:
    @contextlib.asynccontextmanager
    async def opened(summaries: str) -> AsyncIterator[House]:
        async with contextlib.AsyncExitStack() as running:

            async def run(service: object, settings: object) -> Server:
                server = Server(service, settings)
                await server.bind()
                running.push_async_callback(server.stop, 0)
                await server.start()
                return server

            inference_settings = InferenceSettings(data_dir=tmp_path, inference_grpc_port=0)
            memory_settings = MemorySettings(data_dir=tmp_path, memory_grpc_port=0)
            inference = InferenceService(inference_settings, load_engine=lambda *_: engine)
            servers = {
                "inference": await run(inference, inference_settings),
                "memory": await run(MemoryService(memory_settings, embedder=FakeEmbedder()), memory_settings),
            }
            settings = GatewaySettings(
                data_dir=tmp_path,
                gateway_grpc_port=0,
                gateway_http_port=0,
                memory_address=f"127.0.0.1:{servers['memory'].port}",
                inference_address=f"127.0.0.1:{servers['inference'].port}",
                reply_reserve_tokens=50,
                summaries=summaries,
            )
            gateway = GatewayService(settings)
            servers["gateway"] = await run(gateway, settings)
            channels = {
                name: await running.enter_async_context(open_channel(f"127.0.0.1:{server.port}"))
                for name, server in servers.items()
            }
            yield House(
                engine,
                servers,
                ChatServiceStub(channels["gateway"]),
                MemoryServiceStub(channels["memory"]),
                gateway.http.address,
            )

    return opened


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
    open_house: Open, background: list[BackgroundWork]
):
    async with open_house("on") as house:
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


async def test_the_old_summary_and_what_was_cut_since_make_the_new_one(
    open_house: Open, background: list[BackgroundWork]
):
    async with open_house("on") as house:
        await talk(house, background, 40)
        asked = [house.prompt(n) for n in range(len(house.engine.requests)) if "The notes, anew:" in house.prompt(n)]
        assert len(asked) >= 2
        assert "(none)" in asked[0]
        assert "question 0 " in asked[0]
        assert scripted(asked[0])[-1].strip() in asked[1].partition("</notes>")[0]
        assert "question 0 " not in asked[1]


async def test_work_that_was_lost_is_done_after_the_next_turn(open_house: Open, background: list[BackgroundWork]):
    async with open_house("on") as house:
        background[0].offer = lambda *_: None
        conversation = await talk(house, background, 30)
        state = await conversation_of(house, conversation)
        assert (state.summary_through_sequence, state.window_start_sequence > 1) == (0, True)
        del background[0].offer
        await talk(house, background, 1, conversation)
        state = await conversation_of(house, conversation)
        assert state.summary_through_sequence == state.window_start_sequence - 1 > 0


async def test_what_is_summed_up_is_still_found(open_house: Open, background: list[BackgroundWork]):
    async with open_house("on") as house:
        conversation = (await house.say("My boat is called Ласточка."))[0].started.conversation
        await talk(house, background, 40, conversation)
        shown = await house.context("What is my boat called?", conversation)
        assert shown.window_start_sequence > 1
        assert "My boat is called Ласточка." in [hit.message.content for hit in shown.recalled]


@pytest.mark.parametrize("setting", ["off", "auto"])
async def test_without_it_and_with_a_small_model_the_model_is_asked_nothing(
    open_house: Open, background: list[BackgroundWork], setting: str
):
    async with open_house(setting) as house:
        conversation = await talk(house, background, 30)
        state = await conversation_of(house, conversation)
        assert (state.summary, state.summary_through_sequence) == ("", 0)
        assert state.window_start_sequence > 1
        assert state.title.startswith("question 0")
        assert len(house.engine.requests) == 30


async def test_a_new_conversation_gets_a_title_from_the_model(open_house: Open, background: list[BackgroundWork]):
    async with open_house("on") as house:
        conversation = await talk(house, background, 2)
        state = await conversation_of(house, conversation)
        assert (state.title, state.title_source) == ("On peas and beans", memory_pb.TITLE_SOURCE_MODEL)
        assert sum("The title:" in house.prompt(n) for n in range(len(house.engine.requests))) == 1


async def test_a_title_that_the_user_has_given_stays(open_house: Open, background: list[BackgroundWork]):
    async with open_house("on") as house:
        created = chat_pb.ChatServiceCreateConversationRequest(conversation=memory_pb.Conversation(title="Mine"))
        conversation = (await house.chat.CreateConversation(created, metadata=USER)).conversation.name
        await talk(house, background, 2, conversation)
        assert (await conversation_of(house, conversation)).title == "Mine"


async def test_a_title_that_the_user_gives_while_the_model_thinks_of_one_stays(
    open_house: Open, background: list[BackgroundWork]
):
    async with open_house("on") as house:
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
    open_house: Open, background: list[BackgroundWork]
):
    async with open_house("on") as house:
        conversation = await talk(house, background, 1)
        delete = chat_pb.ChatServiceDeleteConversationRequest(conversation=conversation, request_id=str(uuid.uuid4()))
        await house.chat.DeleteConversation(delete, metadata=USER)
        await background[0].settle()
        export = house.chat.ExportMessages(chat_pb.ChatServiceExportMessagesRequest(), metadata=USER)
        assert [record async for record in export] == []


async def test_of_two_gateways_that_sum_up_the_same_one_stores_it(open_house: Open, background: list[BackgroundWork]):
    async with open_house("on") as house:
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
