"""Which models sum up, and in how many steps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import ROLE_USER, ChatMessage
from services.gateway.background import BackgroundWork
from services.gateway.context import Prompt, Section
from services.gateway.peers import Prompts
from services.gateway.prompt_builder import BuiltPrompt, Window
from services.gateway.settings import GatewaySettings
from services.gateway.upkeep import Upkeep

NAME = "conversations/c"


class Inference:
    """Counts words, and answers `notes N.` to the Nth question."""

    def __init__(self, parameters: int) -> None:
        self.asked: list[str] = []
        self.callers: set[str | None] = set()
        self._parameters = parameters

    async def model(self) -> inference_pb.Model:
        return inference_pb.Model(parameters=self._parameters, context_tokens=1000)

    async def count_texts(self, texts: list[str], _prompts: Prompts, _time_left: float | None) -> list[int]:
        return [len(text.split()) for text in texts]

    async def generate(self, request: inference_pb.GenerateRequest, user_id: str | None, *_rest: object):
        self.asked.append(request.messages.messages[0].content)
        self.callers.add(user_id)
        delta = inference_pb.GenerateResponse.Delta(text=f"notes {len(self.asked)}.")
        yield inference_pb.GenerateResponse(delta=delta)


class Memory:
    """Holds one conversation."""

    def __init__(self, messages: int, words: int) -> None:
        self.stub = SimpleNamespace(GetConversation=None, ListMessages=None, UpdateConversation=None)
        self.updates: list[memory_pb.UpdateConversationRequest] = []
        self.conversation = memory_pb.Conversation(
            name=NAME, title="t", last_sequence=messages, window_start_sequence=messages
        )
        self._messages = [
            ChatMessage(role=ROLE_USER, content=f"{n} " + "word " * words, sequence=n) for n in range(1, messages + 1)
        ]

    async def call(self, _method: object, request: object, _time_left: float | None = None) -> object:
        if isinstance(request, memory_pb.GetConversationRequest):
            return memory_pb.GetConversationResponse(conversation=self.conversation)
        if isinstance(request, memory_pb.ListMessagesRequest):
            return memory_pb.ListMessagesResponse(
                messages=[m for m in self._messages if m.sequence >= request.start_sequence]
            )
        assert isinstance(request, memory_pb.UpdateConversationRequest)
        self.updates.append(request)
        return memory_pb.UpdateConversationResponse()


async def upkept(setting: str, parameters: int, messages: int, words: int = 3) -> tuple[Inference, Memory]:
    """A turn whose window began with the last message; what came before is due."""
    inference, memory, background = Inference(parameters), Memory(messages, words), BackgroundWork()
    peers = SimpleNamespace(inference=inference, memory=memory)
    upkeep = Upkeep(peers, background, GatewaySettings(summaries=setting))
    prompt = Prompt((Section(4, ROLE_USER, "x", 1),), (), (), messages)
    built = BuiltPrompt(prompt, Window((), (), 100), 1, 1000, window_moved=False, quotes_start=0, system_cache_key="")
    said = ChatMessage(role=ROLE_USER, content="x", sequence=messages)
    upkeep.after_turn("ann", memory.conversation, built, said, ChatMessage(sequence=messages + 1))
    await background.settle()
    return inference, memory


@pytest.mark.parametrize(
    ("setting", "parameters", "sums_up"),
    [
        ("auto", 999_885_952, True),  # google/gemma-3-1b-it
        ("auto", 134_515_008, False),  # SmolLM2-135M-Instruct
        ("auto", 0, False),  # a server that does not tell
        ("on", 134_515_008, True),
        ("off", 27_000_000_000, False),
    ],
)
async def test_models_that_are_large_enough_sum_up_unless_it_is_said_otherwise(
    setting: str, parameters: int, *, sums_up: bool
):
    inference, memory = await upkept(setting, parameters, 10)
    assert bool(inference.asked) is sums_up
    assert len(memory.updates) == sums_up


async def test_the_new_summary_is_stored_against_what_was_read():
    inference, memory = await upkept("on", 1, 10)
    (update,) = memory.updates
    assert update.conversation.summary == "notes 1."
    assert update.conversation.summary_through_sequence == 9
    assert update.conversation.window_start_sequence == 10
    assert (update.expected_summary_through_sequence, update.expected_window_start_sequence) == (0, 10)
    assert inference.callers == {None}


async def test_what_no_prompt_has_room_for_is_summed_up_in_steps_each_with_the_notes_so_far():
    inference, memory = await upkept("on", 1, 11, words=300)
    assert len(inference.asked) > 1
    assert all(len(prompt.split()) < 1000 for prompt in inference.asked)
    assert "notes 1." in inference.asked[1]
    assert memory.updates[0].conversation.summary_through_sequence == 10


async def test_of_a_long_past_only_so_much_is_summed_up_at_once():
    inference, memory = await upkept("on", 1, 101, words=300)
    assert len(inference.asked) == 8
    assert 0 < memory.updates[0].conversation.summary_through_sequence < 100
    assert memory.updates[0].conversation.window_start_sequence == 101
