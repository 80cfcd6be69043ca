"""Is the evidence in the prompt: questions about what was said 40 turns ago, asked in a new conversation.

So nothing is in the window, and all that the prompt knows of the past is what was recalled into it. A turn is a message
and the one that follows it. Evidence counts where its text stands in the prompt whole.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from bench.result import Observation
from chatbot.v1 import chat_message_pb2, memory_service_pb2
from chatbot.v1 import chat_service_pb2 as chat_pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.context.house import House
    from bench.memory.dialogues import Dialogue, Question, Turn

TURNS_AGO = 40
_MESSAGES_AGO = 2 * TURNS_AGO
_APPENDED_AT_ONCE = 50
_RECALLED = chat_pb.ContextSection.KIND_RECALLED

LATER = f"{TURNS_AGO} turns ago"
WHOLE = "whole conversation"
UNRELATED = "unrelated"
SEVERAL = "multi"
"""The kind of question that has evidence in several places."""

CONTENDERS = {
    "as set by default": chat_pb.RecallConfig(),
    "at most 4 messages": chat_pb.RecallConfig(limit=4),
    "at most 256 tokens": chat_pb.RecallConfig(max_tokens=256),
    "also where nothing is close": chat_pb.RecallConfig(min_similarity=-1),
}
"""Who is compared, by what the request asks for."""

SMALL_TALK = {
    "en": (
        "Hi!",
        "Thanks, that was helpful.",
        "Tell me a joke.",
        "Write a poem about the sea.",
        "What is the capital of France?",
        "Can you explain how photosynthesis works?",
        "Translate 'good morning' into Spanish.",
        "How do I sort a list in Python?",
        "What is 17 times 23?",
        "Summarise the plot of Hamlet.",
        "Please make it shorter.",
        "Go on.",
    ),
    "ru": (
        "Привет!",
        "Спасибо, это помогло.",
        "Расскажи анекдот.",
        "Напиши стихотворение о море.",
        "Какая столица у Франции?",
        "Объясни, как работает фотосинтез.",
        "Переведи «доброе утро» на испанский.",
        "Как отсортировать список в Python?",
        "Сколько будет 17 умножить на 23?",
        "Перескажи сюжет «Гамлета».",
        "Сделай покороче, пожалуйста.",
        "Продолжай.",
    ),
}
"""Messages that nothing in the conversations helps with."""


@dataclass(slots=True)
class Tally:
    """What was seen of one contender."""

    name: str
    shares: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    tokens: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def count(self, measures: Sequence[str], share: float | None, tokens: int) -> None:
        """Notes one prompt: the share of the evidence that stands in it, and what recalled messages take."""
        for measure in measures:
            self.tokens[measure].append(tokens)
            if share is not None:
                self.shares[measure].append(share)

    def observations(self) -> Iterator[tuple[str, Observation]]:
        """Yields means, and the most tokens."""
        for measure, tokens in self.tokens.items():
            shares = self.shares[measure]
            if shares:
                yield self.name, Observation(measure, "evidence", "%", 100 * sum(shares) / len(shares))
            yield self.name, Observation(measure, "questions", "", len(tokens))
            yield self.name, Observation(measure, "recalled", "tokens", sum(tokens) / len(tokens))
            yield self.name, Observation(measure, "recalled_most", "tokens", max(tokens))


async def measure(
    house: House, dialogues: Sequence[Dialogue], tell: Callable[[str], None]
) -> list[tuple[str, Observation]]:
    """Tells each conversation to the memory, and asks its questions: on the way, and at its end."""
    tallies = [Tally(name) for name in CONTENDERS]
    for number, dialogue in enumerate(dialogues, start=1):
        tell(f"conversation {number} of {len(dialogues)}")
        await _ask_about(house, dialogue, tallies)
    return [seen for tally in tallies for seen in tally.observations()]


async def _ask_about(house: House, dialogue: Dialogue, tallies: Sequence[Tally]) -> None:
    user_id = str(uuid.uuid4())
    created = await house.memory.CreateConversation(
        memory_service_pb2.CreateConversationRequest(user_id=user_id, request_id=str(uuid.uuid4()))
    )
    told = 0

    async def tell_up_to(place: int) -> None:
        nonlocal told
        while told < place:
            end = min(place, told + _APPENDED_AT_ONCE)
            await house.memory.AppendMessages(
                memory_service_pb2.AppendMessagesRequest(
                    user_id=user_id,
                    conversation=created.conversation.name,
                    messages=[_message(turn) for turn in dialogue.turns[told:end]],
                    request_id=str(uuid.uuid4()),
                )
            )
            told = end

    async def ask(text: str, question: Question | None, measure: str) -> None:
        measures = [f"{measure}/{dialogue.language}"]
        if question is not None:
            measures.append(f"{measures[0]} {question.kind}")
            if question.kind == SEVERAL:
                del measures[0]
        for tally, recall in zip(tallies, CONTENDERS.values(), strict=True):
            shown = await house.chat.GetContext(
                chat_pb.GetContextRequest(text=text, recall=recall), metadata=(("x-user-id-bin", user_id.encode()),)
            )
            quoted = "\n".join(section.content for section in shown.sections if section.kind == _RECALLED)
            share = None
            if question is not None:
                found = sum(dialogue.turns[place].text in quoted for place in question.evidence)
                share = found / len(question.evidence)
            tokens = sum(section.token_count for section in shown.sections if section.kind == _RECALLED)
            tally.count(measures, share, tokens)

    single = [(max(q.evidence) + _MESSAGES_AGO + 1, q) for q in dialogue.questions if q.kind != SEVERAL]
    for end, question in sorted(single, key=lambda pair: pair[0]):
        if end <= len(dialogue.turns):
            await tell_up_to(end)
            await ask(question.text, question, LATER)
    await tell_up_to(len(dialogue.turns))
    for question in dialogue.questions:
        await ask(question.text, question, WHOLE)
    for text in SMALL_TALK[dialogue.language]:
        await ask(text, None, UNRELATED)


def _message(turn: Turn) -> chat_message_pb2.ChatMessage:
    said = Timestamp()
    said.FromDatetime(turn.said)
    return chat_message_pb2.ChatMessage(
        role=chat_message_pb2.ROLE_USER, content=turn.text, author=turn.author, create_time=said
    )
