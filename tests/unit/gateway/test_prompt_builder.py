"""Whatever is said, stored and found: prompts keep to their budget, and recall nothing that stands in the window."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import ROLE_ASSISTANT, ROLE_USER, ChatMessage
from chatbot.v1.chat_service_pb2 import ContextSection, RecallConfig
from services.gateway.peers import Prompts
from services.gateway.prompt_builder import PromptBuilder, RecallLimits
from services.gateway.settings import GatewaySettings
from services.rpc import errors

SETTINGS = GatewaySettings(reply_reserve_tokens=100)
NAME = "conversations/c"


class Inference:
    """Counts words, and one more for each message."""

    def __init__(self, context_tokens: int) -> None:
        self._context_tokens = context_tokens

    async def count_messages(
        self,
        messages: Sequence[ChatMessage],
        _prompts: Prompts,
        _time_left: float | None,
        _form: inference_pb.ResponseFormat | None = None,
    ) -> inference_pb.CountTokensResponse:
        counts = [1 + len(message.content.split()) for message in messages]
        return inference_pb.CountTokensResponse(
            total_tokens=sum(counts), message_tokens=counts, context_tokens=self._context_tokens
        )

    async def count_texts(self, texts: Sequence[str], _prompts: Prompts, _time_left: float | None) -> list[int]:
        return [len(text.split()) for text in texts]


class Memory:
    """Finds everything that is not excluded, the newest first."""

    def __init__(self, messages: Sequence[ChatMessage], close_similarity: float) -> None:
        self._messages = messages
        self._close_similarity = close_similarity
        self.stub = SimpleNamespace(ListMessages=None, SearchMessages=None)

    async def call(self, _method: object, request: object, _time_left: float | None) -> object:
        if isinstance(request, memory_pb.ListMessagesRequest):
            return memory_pb.ListMessagesResponse(
                messages=[m for m in self._messages if m.sequence >= request.start_sequence]
            )
        assert isinstance(request, memory_pb.SearchMessagesRequest)
        (excluded,) = request.exclude
        found = [m for m in reversed(self._messages) if m.sequence < excluded.start_sequence]
        hits = [memory_pb.SearchHit(message=m, score=5, similarity=0.9) for m in found[: request.limit]]
        return memory_pb.SearchMessagesResponse(hits=hits, close_similarity=self._close_similarity)


def built_from(
    sizes: Sequence[int], said: int, context_tokens: int, start: int, summary: int, *, close_similarity: float = 0.35
) -> tuple:
    messages = [
        ChatMessage(
            name=f"{NAME}/messages/{n}",
            role=ROLE_USER if n % 2 else ROLE_ASSISTANT,
            content=f"{n} " + "word " * size,
            sequence=n,
        )
        for n, size in enumerate(sizes, start=1)
    ]
    conversation = memory_pb.Conversation(
        name=NAME,
        system_prompt="Be brief.",
        last_sequence=len(messages),
        window_start_sequence=min(start, len(messages) + 1),
        summary="note " * summary,
        summary_through_sequence=min(start, len(messages) + 1) - 1 if summary else 0,
    )
    peers = SimpleNamespace(memory=Memory(messages, close_similarity), inference=Inference(context_tokens))
    builder = PromptBuilder(peers, SETTINGS)
    return builder, conversation, "word " * said


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 120), max_size=40),
    said=st.integers(1, 400),
    context_tokens=st.integers(60, 2000),
    start=st.integers(1, 40),
    summary=st.integers(0, 120),
)
async def test_a_prompt_keeps_to_its_budget_and_recalls_nothing_of_its_window(
    sizes: list[int], said: int, context_tokens: int, start: int, summary: int
):
    builder, conversation, text = built_from(sizes, said, context_tokens, start, summary)
    limits = RecallLimits.of(RecallConfig(), SETTINGS)
    try:
        built = await builder.build("ann", conversation, text, limits)
    except errors.ContextTooLong:
        assert 3 + 2 + said + 1 + max(sizes, default=0) + 2 >= context_tokens
        return
    sections = built.prompt.sections
    fixed = sum(s.tokens for s in sections if s.kind in {ContextSection.KIND_SYSTEM, ContextSection.KIND_MESSAGE})
    assert built.prompt_tokens == sum(s.tokens for s in sections)
    assert built.prompt_tokens <= max(context_tokens - min(100, context_tokens // 2), fixed)
    assert await builder.exact_tokens(built, Prompts.of("ann", conversation.name), None) <= built.prompt_tokens
    for kind, most in ((ContextSection.KIND_RECALLED, limits.max_tokens), (ContextSection.KIND_RECENT, 1 << 30)):
        assert sum(s.tokens for s in sections if s.kind == kind) <= most
    assert all(recalled.hit.message.sequence < built.prompt.window_start for recalled in built.prompt.recalled)


@pytest.mark.parametrize("summary", [0, 20])
async def test_a_summary_stands_in_the_prompt_where_there_is_one(summary: int):
    builder, conversation, text = built_from([5] * 6, 5, 2000, 3, summary)
    built = await builder.build("ann", conversation, text, RecallLimits.of(RecallConfig(limit=0), SETTINGS))
    kinds = [section.kind for section in built.prompt.sections]
    assert (ContextSection.KIND_SUMMARY in kinds) == (summary > 0)


@pytest.mark.parametrize(
    ("close_similarity", "asked", "recalled"),
    [
        (0.89, {}, True),
        (0.91, {}, False),
        (0.91, {"min_similarity": 0.5}, True),
        (0.5, {"min_similarity": 0.91}, False),
    ],
)
async def test_close_is_what_the_memory_says_of_its_embedder_unless_the_request_says_otherwise(
    close_similarity: float, asked: dict[str, float], recalled: bool
):
    builder, conversation, text = built_from([5] * 6, 5, 2000, 5, 0, close_similarity=close_similarity)
    built = await builder.build("ann", conversation, text, RecallLimits.of(RecallConfig(**asked), SETTINGS))
    assert bool(built.prompt.recalled) == recalled
