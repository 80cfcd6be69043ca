"""How much of its prompts a conversation of 50 turns finds in the KV cache, with the real model."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.result import Observation
from chatbot.v1 import chat_message_pb2, inference_service_pb2, memory_service_pb2
from chatbot.v1 import chat_service_pb2 as chat_pb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.context.house import House

TURNS = 50
LONGEST_REPLY = 64
"""Tokens."""

MEASURE = "conversation"
_SETTLED_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation under settings."""

    name: str
    context_tokens: int | None = None
    """None: what the model can take."""
    recall: bool = True
    summaries: str = "off"
    same_topics: bool = False
    """Whether the user has spoken of the same things before, so that nearly every message brings something up."""


CASES = (
    Case("8,192 tokens"),
    Case("8,192 tokens, no recall", recall=False),
    Case("8,192 tokens, the same talked of before", same_topics=True),
    Case("4,096 tokens", context_tokens=4096),
    Case("4,096 tokens, summaries", context_tokens=4096, summaries="on"),
)


async def measure(
    house: House, case: Case, earlier: Sequence[str], said: Sequence[str], tell: Callable[[str], None]
) -> list[tuple[str, Observation]]:
    """Has a conversation, and tells what each prompt found in the cache.

    Args:
        house: Running services.
        case: What they run with.
        earlier: Messages of another conversation of the same user, which may be recalled.
        said: What the user says, a turn each.
        tell: Told about progress.
    """
    user_id = str(uuid.uuid4())
    created = await house.memory.CreateConversation(
        memory_service_pb2.CreateConversationRequest(user_id=user_id, request_id=str(uuid.uuid4()))
    )
    await house.memory.AppendMessages(
        memory_service_pb2.AppendMessagesRequest(
            user_id=user_id,
            conversation=created.conversation.name,
            messages=[chat_message_pb2.ChatMessage(role=chat_message_pb2.ROLE_USER, content=text) for text in earlier],
            request_id=str(uuid.uuid4()),
        )
    )
    metadata = (("x-user-id-bin", user_id.encode()),)
    sampling = inference_service_pb2.SamplingConfig(temperature=0, max_tokens=LONGEST_REPLY)
    conversation = ""
    prompts: list[int] = []
    cached: list[int] = []
    recalled: list[int] = []
    for turn, text in enumerate(said, start=1):
        request = chat_pb.ChatRequest(
            conversation=conversation,
            text=text,
            sampling=sampling,
            recall=chat_pb.RecallConfig(enabled=case.recall),
        )
        async for event in house.chat.Chat(request, metadata=metadata, timeout=_SETTLED_SECONDS):
            if event.HasField("started"):
                conversation = event.started.conversation
                prompts.append(event.started.prompt_tokens)
                cached.append(event.started.cached_tokens)
                recalled.append(len(event.started.recalled))
        if turn % 10 == 0:
            tell(f"{case.name}: turn {turn} of {len(said)}")
    seen = [
        Observation(MEASURE, "cached_share", "%", 100 * sum(cached) / sum(prompts)),
        Observation(MEASURE, "computed", "tokens a turn", (sum(prompts) - sum(cached)) / len(prompts)),
        Observation(MEASURE, "recalled_messages", "a turn", sum(recalled) / len(recalled)),
    ]
    for metric, values in (("prompt", prompts), ("cached", cached)):
        seen += [Observation(f"{MEASURE}, each turn", metric, "tokens", value) for value in values]
    return [(case.name, one) for one in seen]
