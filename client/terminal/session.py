"""What is going on at one terminal: which conversation, how replies are asked for, and how each is shown."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from client.errors import ChatbotError, ConversationNotFound, FailedPrecondition, InvalidArgument
from client.requests import new_request_id
from client.terminal.completion import CommandCompleter
from client.terminal.connection_watch import ConnectionWatch
from client.terminal.conversation_list import ConversationList
from client.terminal.languages import language_notice, possible_languages
from client.terminal.lines import note_of
from client.terminal.recalled import recalled_lines
from client.terminal.statistics import Statistics
from client.terminal.turns import Turns
from client.values import RecallConfig, SamplingConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.chat_client import ChatClient
    from client.reply import Reply
    from client.terminal.keyboard import Prompt
    from client.terminal.messages import Words
    from client.terminal.screen import Screen
    from client.values import Conversation, Model, SearchHit

_LATEST = 5
"""Among how many conversations the one of a turn without an answer is looked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Unanswered:
    """What was said and may have been stored, although nothing of a reply came back."""

    text: str
    request_id: str


class Session:
    """What commands act on.

    Args:
        client: Of the gateway.
        screen: Where replies are shown.
        prompt: Where questions are asked.
        words: In the person's language.
    """

    def __init__(self, client: ChatClient, screen: Screen, prompt: Prompt, words: Words) -> None:
        self.client = client
        self.screen = screen
        self.words = words
        self.model: Model | None = None
        self.conversation = ""
        """Resource name; empty: the next message starts one."""
        self.sampling = SamplingConfig()
        self.recall = RecallConfig()
        self.recalled: tuple[SearchHit, ...] = ()
        """What was recalled for the last reply."""
        self.conversations = ConversationList(client)
        self.statistics = Statistics()
        self._prompt = prompt
        self._prompt.complete_with(CommandCompleter(self.conversations))
        self.connection = ConnectionWatch(client, self._tell_of_connection)
        self._turns = Turns(client, screen, self.connection)
        self._language_told = False
        self._unanswered: _Unanswered | None = None

    async def say(self, text: str) -> None:
        """Says something and shows the reply.

        What was said last and got no answer at all, said again, is the same turn: it may have been stored.
        """
        await self._tell_about_language(text)
        if self._unanswered is None or self._unanswered.text != text:
            self._unanswered = _Unanswered(text, new_request_id())
        request_id = self._unanswered.request_id
        try:
            await self._show(
                lambda: self.client.chat(
                    text,
                    conversation=self.conversation,
                    request_id=request_id,
                    sampling=self.sampling,
                    recall=self.recall,
                )
            )
        except (InvalidArgument, FailedPrecondition, ConversationNotFound):
            self._unanswered = None  # said again it would fail again
            raise

    async def regenerate(self) -> None:
        """Shows another reply in place of the last one."""
        request_id = new_request_id()
        await self._show(
            lambda: self.client.regenerate(
                self.conversation, request_id=request_id, sampling=self.sampling, recall=self.recall
            )
        )

    def go_to(self, conversation: str) -> None:
        """Goes on in a conversation; empty: in a new one."""
        self.conversation = conversation
        self._unanswered = None

    def title(self, conversation: Conversation) -> str:
        """Returns what a conversation is called."""
        return conversation.title or self.words("untitled")

    async def confirm(self, question: str) -> bool:
        """Asks a question, and tells whether the answer was yes."""
        return await self._prompt.confirm(question, tuple(self.words("yes").split()))

    def stop_reply(self) -> bool:
        """Stops the reply that is being shown; tells whether there was one."""
        return self._turns.stop()

    async def known_model(self) -> Model:
        """Returns the model, asked for once."""
        if self.model is None:
            self.model = await self.client.get_model()
        return self.model

    async def follow_unanswered(self) -> None:
        """Finds the conversation that a turn began whose reply was stopped before it told its name."""
        if self._unanswered is None or self.conversation:
            return
        with contextlib.suppress(ChatbotError):
            listed = 0
            async for conversation in self.client.list_conversations(page_size=_LATEST):
                async for first in self.client.list_messages(conversation.name, page_size=1):
                    if first.request_id == self._unanswered.request_id:
                        self.conversation = conversation.name
                        return
                    break
                listed += 1
                if listed == _LATEST:
                    return

    async def _tell_of_connection(self, key: str) -> None:
        text = self.words(key, address=self.client.address)
        await self._prompt.above(lambda: self.screen.note(text))

    async def _show(self, open_reply: Callable[[], Reply]) -> None:
        self.recalled = ()
        try:
            reply = await self._turns.take(open_reply, self._seen, self.words)
        except ConversationNotFound:
            # Deleted from elsewhere: the next message starts another rather than fail again.
            self.conversation = ""
            raise
        if reply.cancelled:
            self.screen.note(self.words("stopped"))
        elif reply.finished is not None and (note := note_of(reply.finished.message.finish_reason)):
            # Whoever stopped it was not here: the connection broke, and the backend took that for a stop.
            self.screen.note(self.words("connection_cut" if note == "stopped" else note))
        self.statistics.count(reply)
        for line in await recalled_lines(self.recalled, self.conversations, self.words, self.screen.columns):
            self.screen.note(line)

    def _seen(self, reply: Reply) -> None:
        if reply.started is not None:
            self.conversation = reply.started.conversation
            # A replay does not tell again what was recalled.
            self.recalled = reply.started.recalled or self.recalled
            self.connection.lost = False
            self._unanswered = None

    async def _tell_about_language(self, text: str) -> None:
        if self._language_told or not possible_languages(text):
            return
        model = await self.known_model()
        if notice := language_notice(text, model.id, model.languages):
            self._language_told = True
            self.screen.note(notice)
