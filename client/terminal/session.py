"""One session at the terminal: prompt, message or command, reply, and again."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING

from client.errors import (
    ChatbotError,
    ConversationNotFound,
    FailedPrecondition,
    InvalidArgument,
    NotConnected,
    Unauthenticated,
)
from client.requests import new_request_id
from client.terminal.commands import Commands
from client.terminal.completion import CommandCompleter
from client.terminal.connection_watch import ConnectionWatch
from client.terminal.conversation_list import ConversationList
from client.terminal.keyboard import QUOTES, interrupts_go_to
from client.terminal.languages import language_notice, possible_languages
from client.terminal.recalled import recalled_lines
from client.terminal.statistics import Statistics
from client.terminal.turns import Turns
from client.values import FinishReason, RecallConfig, SamplingConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from client.chat_client import ChatClient
    from client.reply import Reply
    from client.terminal.keyboard import Prompt
    from client.terminal.messages import Words
    from client.terminal.screen import Screen
    from client.values import Conversation, Model, SearchHit

_LATEST = 5
"""Among how many conversations the one of a turn without an answer is looked for."""

_NOTES = {
    FinishReason.MAX_TOKENS: "max_tokens",
    FinishReason.CONTEXT_FULL: "context_full",
    FinishReason.DEADLINE: "deadline",
    FinishReason.CANCELLED: "stopped",
    FinishReason.ENGINE_LOST: "engine_lost",
}


def note_of(reason: FinishReason) -> str | None:
    """Returns the key of what to say of a reply that ended early; None where it ended by itself."""
    return _NOTES.get(reason)


def model_line(model: Model) -> str:
    """Returns the model, its weights and what it is good for, in one line."""
    return " · ".join(part for part in (model.id, model.weights, model.description) if part)


def error_line(words: Words, error: ChatbotError, address: str) -> str:
    """Returns an error in one line, for a person."""
    if isinstance(error, NotConnected):
        return words("no_answer", address=address)
    message = " ".join(error.message.split())
    if isinstance(error, Unauthenticated):
        message = words("unauthenticated", message=message)
    if error.retry_after is not None and error.retry_after >= 1:
        message = words("retry_after", message=message, seconds=error.retry_after)
    return words("error", message=message)


@dataclasses.dataclass(frozen=True, slots=True)
class _Unanswered:
    """What was said and may have been stored, although nothing of a reply came back."""

    text: str
    request_id: str


class Session:
    """What is going on at one terminal."""

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
        self._commands = Commands(self)
        self._connection = ConnectionWatch(client, self._tell_of_connection)
        self._turns = Turns(client, screen, self._connection)
        self._step: asyncio.Task[bool] | None = None
        self._language_told = False
        self._unanswered: _Unanswered | None = None

    async def run(self, *, resume: bool) -> None:
        """Talks until the user leaves."""
        with interrupts_go_to(self._interrupt):
            await self._attempt(self._open(resume=resume))
            while (line := await self._ask()) is not None:
                if await self._attempt(self._take(line)):
                    return

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

    async def known_model(self) -> Model:
        """Returns the model, asked for once."""
        if self.model is None:
            self.model = await self.client.get_model()
        return self.model

    async def _ask(self) -> str | None:
        async with self._connection.watching():
            return await self._prompt.ask()

    async def _tell_of_connection(self, key: str) -> None:
        text = self.words(key, address=self.client.address)
        await self._prompt.above(lambda: self.screen.note(text))

    async def _open(self, *, resume: bool) -> bool:
        self.screen.say(model_line(await self.known_model()))
        if resume:
            async for latest in self.client.list_conversations(page_size=1):
                self.conversation = latest.name
                self.screen.note(
                    self.words(
                        "resumed",
                        title=self.title(latest),
                        count=self.words.messages(latest.message_count),
                    )
                )
                break
        self.screen.note(self.words("keys"))
        return False

    async def _take(self, line: str) -> bool:
        """Does what one line asks for; tells whether it was to leave."""
        await self._follow_unanswered()
        quoted = line.strip()
        if quoted.startswith(QUOTES):
            text = quoted.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
        elif line.startswith("/"):
            return await self._commands.run(line)
        else:
            text = line.strip()
        if text.strip():
            await self.say(text)
        return False

    async def _attempt(self, step: Coroutine[Any, Any, bool]) -> bool:
        """Runs one step to its end, whatever becomes of it; tells whether it was the last."""
        self._step = asyncio.create_task(step)
        try:
            return await self._step
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self.screen.note(self.words("stopped"))
        except ChatbotError as error:
            line = error_line(self.words, error, self.client.address)
            self._connection.lost = isinstance(error, NotConnected)
            self.screen.error(f"{line} {self.words('next_tries_again')}" if isinstance(error, NotConnected) else line)
        except BrokenPipeError:
            raise  # nobody sees the screen any more
        except Exception as fault:
            # A fault of this program must not cost the person the session; its text may quote what was said.
            self.screen.error(self.words("unexpected", kind=type(fault).__name__))
        finally:
            self._step = None
        return False

    def _interrupt(self) -> None:
        if not self._turns.stop() and self._step is not None:
            self._step.cancel()

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
            self._connection.lost = False
            self._unanswered = None

    async def _follow_unanswered(self) -> None:
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

    async def _tell_about_language(self, text: str) -> None:
        if self._language_told or not possible_languages(text):
            return
        model = await self.known_model()
        if notice := language_notice(text, model.id, model.languages):
            self._language_told = True
            self.screen.note(notice)
