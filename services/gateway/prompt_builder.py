"""Gathers what a prompt is built from: the window, the counts, the recalled messages."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatbot.v1 import memory_service_pb2 as memory_pb
from chatbot.v1.chat_message_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER, ChatMessage
from services.gateway import context, recall
from services.gateway.peers import Prompts
from services.gateway.window import Said, quotes_start, read_window
from services.rpc import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatbot.v1 import inference_service_pb2 as inference_pb
    from chatbot.v1.chat_service_pb2 import RecallConfig
    from chatbot.v1.inference_service_pb2 import ResponseFormat
    from services.gateway.peers import Peers
    from services.gateway.settings import GatewaySettings

_LONGEST_QUERY = 4000
"""Characters of a message that are searched with; embedders read less than that."""

_CANDIDATES_PER_RECALL = 4
"""How many hits are asked for, for each one that may be recalled: some gain by their neighbours, some are too long."""


@dataclass(frozen=True, slots=True)
class RecallLimits:
    """How much is recalled."""

    limit: int
    max_tokens: int
    min_similarity: float | None
    """None: what the memory service says of its embedder."""
    min_word_share: float

    @classmethod
    def of(cls, config: RecallConfig, settings: GatewaySettings) -> RecallLimits:
        """Returns what a request asks for, with the gateway's settings where it asks nothing.

        Raises:
            InvalidArgument: A field is out of its range.
        """
        if config.HasField("limit") and not 0 <= config.limit <= 50:
            raise errors.invalid_field("recall.limit", f"must be from 0 to 50; it is {config.limit}")
        if config.HasField("max_tokens") and config.max_tokens < 1:
            raise errors.invalid_field("recall.max_tokens", f"must be 1 or more; it is {config.max_tokens}")
        if config.HasField("min_similarity") and not -1 <= config.min_similarity <= 1:
            raise errors.invalid_field("recall.min_similarity", "must be from -1 to 1")
        if config.HasField("min_word_share") and not 0 <= config.min_word_share <= 1:
            raise errors.invalid_field("recall.min_word_share", "must be from 0 to 1")
        enabled = config.enabled if config.HasField("enabled") else True
        limit = config.limit if config.HasField("limit") else settings.recall_limit
        return cls(
            limit if enabled else 0,
            config.max_tokens if config.HasField("max_tokens") else settings.recall_max_tokens,
            config.min_similarity if config.HasField("min_similarity") else settings.recall_min_similarity,
            config.min_word_share if config.HasField("min_word_share") else settings.recall_min_word_share,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """The recent messages of a prompt, the tokens of each without its quotes, and how many they may take together."""

    messages: tuple[ChatMessage, ...]
    tokens: tuple[int, ...]
    budget: int


@dataclass(frozen=True, slots=True)
class BuiltPrompt:
    """A prompt and the sizes it was built to."""

    prompt: context.Prompt
    window: Window
    prompt_tokens: int
    context_tokens: int
    window_moved: bool
    """Whether the window was cut, so that its new start has to be stored."""
    quotes_start: int
    """Sequence from which on replies have their quotes in the prompt."""
    system_cache_key: str
    """Tells system messages apart: that of the deployment is everybody's, others are their user's own."""


class PromptBuilder:
    """Builds prompts from what the services hold."""

    def __init__(self, peers: Peers, settings: GatewaySettings) -> None:
        self._peers = peers
        self._settings = settings

    async def build(
        self,
        user_id: str,
        conversation: memory_pb.Conversation,
        text: str,
        limits: RecallLimits,
        *,
        before_sequence: int | None = None,
        form: ResponseFormat | None = None,
        time_left: float | None = None,
    ) -> BuiltPrompt:
        """Builds the prompt for a text said in a conversation.

        Args:
            user_id: Whose.
            conversation: The conversation; one without a name is new and has no messages.
            text: What is said.
            limits: How much is recalled.
            before_sequence: Only messages before this one count as said before; None: all of them.
            form: What form the reply is to have; only checked.
            time_left: Seconds for each call to a service; None: no bound but their own.

        Raises:
            ContextTooLong: System prompt and text alone do not fit the model's context.
            InvalidArgument: A reply cannot be held to the form.
            ChatbotError: What a service answered.
        """
        summarised = conversation.summary_through_sequence
        if before_sequence is not None and before_sequence <= summarised:
            # Some of what was summed up is said anew, so the summary no longer holds.
            summarised = 0
        start = max(conversation.window_start_sequence, 1)
        if before_sequence is not None and before_sequence <= start:
            # All of the window is said anew: what stood before it takes its place.
            start = summarised + 1
        in_window = memory_pb.MessageRange(conversation=conversation.name, start_sequence=start)
        prompts = Prompts.of(user_id, conversation.name)
        system = conversation.system_prompt or self._settings.system_prompt
        opening = [ChatMessage(role=ROLE_SYSTEM, content=system)] if system else []
        summary = context.summary_block(conversation.summary) if summarised else ""
        reading = asyncio.ensure_future(
            read_window(
                self._peers.memory,
                user_id,
                conversation,
                start=start,
                before_sequence=before_sequence,
                time_left=time_left,
                with_quotes=limits.limit > 0,
            )
        )

        async def count_messages() -> inference_pb.CountTokensResponse:
            window, said = _said_last(await reading, text)
            messages = [*opening, *(one.whole() for one in window), said]
            return await self._peers.inference.count_messages(messages, prompts, time_left, form)

        async def count_others() -> tuple[list[int], list[recall.Recalled], dict[str, int]]:
            found = await self._search(user_id, text, limits, in_window=in_window, time_left=time_left)
            window, _ = _said_last(await reading, text)
            hits = _worth_recalling(found, text, limits)
            return await self._counted([summary, *(one.block for one in window)], hits, text, prompts, time_left)

        # Messages are counted while it is still searched.
        counts, (block_tokens, candidates, heading_tokens) = await asyncio.gather(count_messages(), count_others())
        window, said = _said_last(await reading, text)
        system_tokens = counts.message_tokens[0] if system else 0
        recent = [
            context.Recent(one.message, tokens, one.block, min(of_block, tokens))
            for one, tokens, of_block in zip(
                window, counts.message_tokens[len(opening) : -1], block_tokens[1:], strict=True
            )
        ]
        said_tokens = counts.message_tokens[-1]
        n_context = counts.context_tokens
        fixed_tokens = counts.total_tokens - sum(one.tokens for one in recent)
        if fixed_tokens >= n_context:
            raise errors.ContextTooLong.of(fixed_tokens, n_context)

        reserve = min(self._settings.reply_reserve_tokens, n_context // 2)
        left = max(n_context - reserve - fixed_tokens, 0)
        summary_tokens = block_tokens[0]
        if summary_tokens > left // 2:
            # A message so long leaves no room for what it is not about.
            summary, summary_tokens = "", 0
        left -= summary_tokens
        recall_tokens = min(limits.max_tokens, left // 2) if limits.limit else 0
        budget = left - recall_tokens
        next_sequence = before_sequence or conversation.last_sequence + 1
        start_of_quotes = quotes_start(one.message for one in window)
        if sum(one.tokens for one in recent) > budget:
            # What was quoted makes room first, all of it, so that it pushes no more out than messages themselves would.
            window = [Said(one.message) for one in window]
            recent = [context.Recent(one.message, one.tokens - one.quote_tokens) for one in recent]
            start_of_quotes = next_sequence
        cut = context.cut_window([one.message for one in recent], [one.tokens for one in recent], budget)
        window, recent = window[cut:], recent[cut:]
        if cut:
            # What has just left the window may be what is needed now.
            in_window.start_sequence = window[0].message.sequence if window else next_sequence
            found = await self._search(user_id, text, limits, in_window=in_window, time_left=time_left)
            _, candidates, heading_tokens = await self._counted(
                [], _worth_recalling(found, text, limits), text, prompts, time_left
            )
        recalled = recall.within_budget(candidates, heading_tokens, limits.limit, recall_tokens) if candidates else []
        fresh = recall.not_standing(recalled, (quote for one in window for quote in one.quotes))
        fresh_tokens = recall.tokens_of(fresh, heading_tokens)
        prompt = context.assemble(
            system_prompt=system,
            system_tokens=system_tokens,
            summary=summary,
            summary_tokens=summary_tokens,
            window=recent,
            recalled=recalled,
            quoted_now=fresh,
            quoted_tokens=fresh_tokens,
            message=said,
            message_tokens=said_tokens,
            next_sequence=next_sequence,
        )
        prompt_tokens = fixed_tokens + summary_tokens + sum(one.tokens for one in recent) + fresh_tokens
        owner = user_id if conversation.system_prompt else ""
        key = hashlib.sha256(f"{owner}\0{system}".encode()).hexdigest()
        return BuiltPrompt(
            prompt,
            Window(
                tuple(one.message for one in recent),
                tuple(one.tokens - one.quote_tokens for one in recent),
                budget,
            ),
            prompt_tokens,
            n_context,
            window_moved=cut > 0 or start < conversation.window_start_sequence,
            quotes_start=start_of_quotes,
            system_cache_key=key,
        )

    async def exact_tokens(self, built: BuiltPrompt, prompts: Prompts, time_left: float | None) -> int:
        """Returns the tokens of a prompt as it would be generated from: what is joined has fewer than its parts."""
        return (await self._peers.inference.count_messages(built.prompt.messages(), prompts, time_left)).total_tokens

    async def _search(
        self,
        user_id: str,
        text: str,
        limits: RecallLimits,
        *,
        in_window: memory_pb.MessageRange,
        time_left: float | None,
    ) -> memory_pb.SearchMessagesResponse:
        """Finds the user's messages that fit the text best, but for those in the window."""
        if limits.limit == 0:
            return memory_pb.SearchMessagesResponse()
        request = memory_pb.SearchMessagesRequest(
            user_id=user_id,
            query=text[:_LONGEST_QUERY],
            limit=limits.limit * _CANDIDATES_PER_RECALL,
            filter=memory_pb.MessageFilter(roles=[ROLE_USER, ROLE_ASSISTANT]),
            exclude=[in_window] if in_window.conversation else (),
        )
        return await self._peers.memory.call(self._peers.memory.stub.SearchMessages, request, time_left)

    async def _counted(
        self,
        blocks: Sequence[str],
        hits: Sequence[memory_pb.SearchHit],
        text: str,
        prompts: Prompts,
        time_left: float | None,
    ) -> tuple[list[int], list[recall.Recalled], dict[str, int]]:
        """Counts, in one call, what stands beside messages.

        Returns:
            The tokens of each block with the empty line below it, 0 for an empty one; the hits as they are quoted; and
            the tokens of each heading that they need.
        """
        below = [f"{block}\n\n" for block in blocks if block]
        lines = [recall.line(hit.message, text) for hit in hits]
        dated = (heading for hit in hits for heading in recall.day_headings(hit.message))
        headings = list(dict.fromkeys([recall.HEADING, *dated])) if hits else []
        texts = [*below, *(f"{each}\n" for each in (*lines, *headings))]
        counts = iter(await self._peers.inference.count_texts(texts, prompts, time_left))
        return (
            [next(counts) if block else 0 for block in blocks],
            [recall.Recalled(hit, line, next(counts)) for hit, line in zip(hits, lines, strict=True)],
            {heading: next(counts) for heading in headings},
        )


def _said_last(window: Sequence[Said], text: str) -> tuple[list[Said], ChatMessage]:
    """Returns what was said before, and what is said now: a message that never got its reply together with the text."""
    unanswered = window[-1:] if window and window[-1].message.role == ROLE_USER else []
    content = "\n\n".join([*(one.message.content for one in unanswered), text])
    return list(window[: len(window) - len(unanswered)]), ChatMessage(role=ROLE_USER, content=content)


def _worth_recalling(
    found: memory_pb.SearchMessagesResponse, text: str, limits: RecallLimits
) -> list[memory_pb.SearchHit]:
    least = found.close_similarity if limits.min_similarity is None else limits.min_similarity
    return recall.worth_recalling(found.hits, text, least, limits.min_word_share)
