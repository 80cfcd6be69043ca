"""What is done to a conversation after a turn, in the background: its running summary, and its title.

A summary is made ahead of the window's cut: when a turn has filled the window to seven eighths, the part that is to
leave it is summed up, and the new summary and the window's new start are stored in one write. So prompts begin anew
once for both. Where a cut came first (a turn overflowed the window at once), the summary follows as soon as it is made.

Whatever happens, the next turn finds what is due: nothing is remembered here but which conversations wait. Several
gateways may make a summary of the same conversation; by compare and set one of them is stored.
"""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import inference_service_pb2 as inference_pb
from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import FINISH_REASON_MAX_TOKENS, ROLE_ASSISTANT, ROLE_USER, ChatMessage
from services.gateway import context, notes
from services.gateway.peers import Prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.gateway.background import BackgroundWork
    from services.gateway.peers import Peers
    from services.gateway.prompt_builder import BuiltPrompt
    from services.gateway.settings import GatewaySettings

_LEAST_PARAMETERS = 900_000_000
"""Of a model that sums up well enough. `google/gemma-3-1b-it` has 999,885,952."""

_SUMMARY_SHARE = 1 / 16
"""Of the model's context that a summary may take."""

_FEWEST_SUMMARY_TOKENS, _MOST_SUMMARY_TOKENS = 64, 384
_WORDS_A_TOKEN = 0.6
_MARGIN_TOKENS = 64
"""Left free beside a prompt that is counted part by part."""

_LONGEST_SECONDS = 300.0
"""For one answer of the model, its wait behind users' turns included."""

_LAST_TITLED_SEQUENCE = 5
"""Of the user's messages after which a title is still made, where the work of an earlier one was lost."""

_MOST_PORTIONS = 8
"""Prompts that one summary is made of; where there is more to sum up, as after an import, the next turns go on."""

_LINE_CHARACTERS = 20_000
"""Of one message that are summed up."""

_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    cut: bool
    """Whether the limit ended it."""


@dataclass(slots=True)
class _Portion:
    """Messages that are summed up at once, up to a sequence."""

    lines: list[str] = field(default_factory=list)
    through: int = 0


class Upkeep:
    """Finds out after each turn what is due, and has it done."""

    def __init__(self, peers: Peers, background: BackgroundWork, settings: GatewaySettings) -> None:
        self._inference = peers.inference
        self._memory = peers.memory
        self._background = background
        self._wanted = settings.summaries

    def after_turn(
        self,
        user_id: str,
        state: memory_pb.Conversation,
        built: BuiltPrompt,
        message: ChatMessage,
        reply: ChatMessage,
    ) -> None:
        """Has done what a turn has made due. Returns at once.

        Args:
            user_id: Whose.
            state: The conversation as it was before the turn.
            built: The turn's prompt.
            message: The turn's message, as stored.
            reply: The turn's reply, as stored.
        """
        if self._wanted == "off":
            return
        through = max(_through(built, message, reply), built.prompt.window_start - 1)
        if through > state.summary_through_sequence:
            work = partial(self._summarise, user_id, state.name, through)
            self._background.offer((user_id, state.name, "summary"), work)
        unset = state.title_source == memory_pb.TITLE_SOURCE_UNSPECIFIED and not state.title
        untitled = unset or state.title_source == memory_pb.TITLE_SOURCE_FIRST_MESSAGE
        if untitled and message.sequence <= _LAST_TITLED_SEQUENCE and reply.content:
            work = partial(self._entitle, user_id, state, message, reply)
            self._background.offer((user_id, state.name, "title"), work)

    async def _summarise(self, user_id: str, name: str, through: int) -> None:
        """Sums up what is not yet summed up of a conversation, up to a sequence, and stores it."""
        model = await self._able_model()
        if model is None:
            return
        most = int(min(max(model.context_tokens * _SUMMARY_SHARE, _FEWEST_SUMMARY_TOKENS), _MOST_SUMMARY_TOKENS))
        before = await self._conversation(user_id, name)
        messages = await self._messages(user_id, before, through)
        if not messages:
            return
        summary = before.summary
        portions = await self._portions(messages, _prompts_of(user_id, name), model.context_tokens - 2 * most)
        if len(portions) > _MOST_PORTIONS:
            portions = portions[:_MOST_PORTIONS]
            through = portions[-1].through
            messages = [message for message in messages if message.sequence <= through]
        for portion in portions:
            prompt = notes.summary_prompt(summary, portion.lines, int(most * _WORDS_A_TOKEN))
            answer = await self._ask(user_id, name, prompt, most)
            summary = notes.summary_of(answer.text, cut=answer.cut) or summary
        # A message that was superseded meanwhile must not live on in a summary.
        if summary and await self._messages(user_id, before, through) == messages:
            await self._store_summary(user_id, before, summary, through)

    async def _store_summary(self, user_id: str, before: memory_pb.Conversation, summary: str, through: int) -> None:
        """Stores a summary, and the window's start where that is further ahead; not where another one was stored."""
        now = await self._conversation(user_id, before.name)
        if now.summary_through_sequence != before.summary_through_sequence:
            return
        request = memory_pb.UpdateConversationRequest(
            user_id=user_id,
            conversation=memory_pb.Conversation(
                name=now.name,
                summary=summary,
                summary_through_sequence=through,
                window_start_sequence=max(now.window_start_sequence, through + 1),
            ),
            update_mask=FieldMask(paths=["summary", "summary_through_sequence", "window_start_sequence"]),
            expected_summary_through_sequence=now.summary_through_sequence,
            expected_window_start_sequence=now.window_start_sequence,
            request_id=str(uuid.uuid4()),
        )
        await self._memory.call(self._memory.stub.UpdateConversation, request)

    async def _entitle(
        self, user_id: str, state: memory_pb.Conversation, message: ChatMessage, reply: ChatMessage
    ) -> None:
        """Gives a conversation a title, unless the user has given it one meanwhile."""
        if await self._able_model() is None:
            return
        answer = await self._ask(user_id, state.name, notes.title_prompt(message, reply), notes.TITLE_TOKENS)
        title = notes.title_of(answer.text)
        if not title:
            return
        request = memory_pb.UpdateConversationRequest(
            user_id=user_id,
            conversation=memory_pb.Conversation(
                name=state.name, title=title, title_source=memory_pb.TITLE_SOURCE_MODEL
            ),
            update_mask=FieldMask(paths=["title", "title_source"]),
            expected_title_source=state.title_source,
            request_id=str(uuid.uuid4()),
        )
        await self._memory.call(self._memory.stub.UpdateConversation, request)

    async def _able_model(self) -> inference_pb.Model | None:
        """Returns the model; None where it is too small for this work, or may be."""
        model = await self._inference.model()
        able = self._wanted == "on" or model.parameters >= _LEAST_PARAMETERS
        return model if able else None

    async def _conversation(self, user_id: str, name: str) -> memory_pb.Conversation:
        request = memory_pb.GetConversationRequest(user_id=user_id, conversation=name)
        return (await self._memory.call(self._memory.stub.GetConversation, request)).conversation

    async def _messages(self, user_id: str, conversation: memory_pb.Conversation, through: int) -> list[ChatMessage]:
        """Returns what was said after the summary, up to a sequence."""
        request = memory_pb.ListMessagesRequest(
            user_id=user_id,
            conversation=conversation.name,
            page_size=_PAGE_SIZE,
            start_sequence=conversation.summary_through_sequence + 1,
            filter=memory_pb.MessageFilter(roles=[ROLE_USER, ROLE_ASSISTANT]),
        )
        messages: list[ChatMessage] = []
        while True:
            page = await self._memory.call(self._memory.stub.ListMessages, request)
            messages += [m for m in page.messages if m.sequence <= through and m.content]
            if not page.next_page_token or page.messages[-1].sequence > through:
                return messages
            request.page_token = page.next_page_token

    async def _portions(self, messages: Sequence[ChatMessage], prompts: Prompts, room: int) -> list[_Portion]:
        """Returns messages in portions that a prompt has room for."""
        lines = [notes.said(message)[:_LINE_CHARACTERS] for message in messages]
        frame, *counts = await self._inference.count_texts([notes.summary_prompt("", [], 0), *lines], prompts, None)
        room = max(room - frame - _MARGIN_TOKENS, 1)
        portions = [_Portion()]
        left = room
        for message, line, count in zip(messages, lines, counts, strict=True):
            # The beginning of a message that is longer than everything else together.
            text, tokens = (line, count) if count <= room else (line[: len(line) * room // count], room)
            if tokens > left and portions[-1].lines:
                portions.append(_Portion())
                left = room
            portions[-1].lines.append(text)
            portions[-1].through = message.sequence
            left -= tokens
        return portions

    async def _ask(self, user_id: str, conversation: str, prompt: str, max_tokens: int) -> _Answer:
        """Asks the model, behind whoever waits for a reply."""
        request = inference_pb.GenerateRequest(
            messages=inference_pb.ChatMessages(messages=[ChatMessage(role=ROLE_USER, content=prompt)]),
            sampling=inference_pb.SamplingConfig(temperature=0, max_tokens=max_tokens),
            # Of no use to the conversation's own prompts, and nobody else's business.
            cache_key=_prompts_of(user_id, conversation).cache_key,
        )
        text: list[str] = []
        reason = inference_pb.GenerateResponse.Finished().finish_reason
        stream = self._inference.generate(request, None, conversation, _LONGEST_SECONDS)
        async with aclosing(stream) as events:
            async for event in events:
                text.append(event.delta.text)
                reason = event.finished.finish_reason
        return _Answer("".join(text), cut=reason == FINISH_REASON_MAX_TOKENS)


def _prompts_of(user_id: str, conversation: str) -> Prompts:
    return Prompts.of(f"upkeep\0{user_id}", conversation)


def _through(built: BuiltPrompt, message: ChatMessage, reply: ChatMessage) -> int:
    """Returns the sequence up to which messages are to leave the window; 0: none are."""
    window = [*built.window.messages, message, reply]
    tokens = [*built.window.tokens, built.prompt.sections[-1].tokens, reply.usage.completion_tokens]
    cut = context.cut_ahead(window, tokens, built.window.budget)
    return window[cut].sequence - 1 if cut else 0
