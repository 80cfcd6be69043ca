"""One session at the terminal: prompt, message or command, reply, and again."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from client.errors import ChatbotError, ConversationBusy, ConversationNotFound, NotConnected
from client.terminal.commands import Commands
from client.terminal.keyboard import QUOTES, interrupts_go_to, silent_keys
from client.terminal.languages import language_notice, possible_languages
from client.values import FinishReason, SamplingConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from client.chat_client import ChatClient
    from client.reply import Reply
    from client.terminal.keyboard import Prompt
    from client.terminal.messages import Words
    from client.terminal.screen import Screen
    from client.values import Conversation, Model

_BUSY_TRIES = 6
_BUSY_WAIT_SECONDS = 0.5

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
    if error.retry_after is not None and error.retry_after >= 1:
        message = words("retry_after", message=message, seconds=error.retry_after)
    return words("error", message=message)


class Session:
    """What is going on at one terminal."""

    def __init__(self, client: ChatClient, screen: Screen, prompt: Prompt, words: Words) -> None:
        self.client = client
        self.screen = screen
        self.prompt = prompt
        self.words = words
        self.model: Model | None = None
        self.conversation = ""
        """Resource name; empty: the next message starts one."""
        self.sampling = SamplingConfig()
        self._commands = Commands(self)
        self._reply: Reply | None = None
        self._step: asyncio.Task[bool] | None = None
        self._language_told = False

    async def run(self, *, resume: bool) -> None:
        """Talks until the user leaves."""
        with interrupts_go_to(self._interrupt):
            await self._attempt(self._open(resume=resume))
            while (line := await self.prompt.ask()) is not None:
                if await self._attempt(self._take(line)):
                    return

    async def say(self, text: str) -> None:
        """Says something and shows the reply."""
        await self._tell_about_language(text)
        await self._show(
            lambda request_id: self.client.chat(
                text, conversation=self.conversation, request_id=request_id, sampling=self.sampling
            )
        )

    async def regenerate(self) -> None:
        """Shows another reply in place of the last one."""
        await self._show(
            lambda request_id: self.client.regenerate(self.conversation, request_id=request_id, sampling=self.sampling)
        )

    def title(self, conversation: Conversation) -> str:
        """Returns what a conversation is called."""
        return conversation.title or self.words("untitled")

    async def known_model(self) -> Model:
        """Returns the model, asked for once."""
        if self.model is None:
            self.model = await self.client.get_model()
        return self.model

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
        if self._reply is not None:
            self._reply.cancel()
        elif self._step is not None:
            self._step.cancel()

    async def _show(self, open_reply: Callable[[str], Reply]) -> None:
        request_id = str(uuid.uuid4())
        for tries_left in reversed(range(_BUSY_TRIES)):
            reply = open_reply(request_id)
            try:
                await self._show_once(reply)
                break
            except ConversationNotFound:
                # Deleted from elsewhere: the next message starts another rather than fail again.
                self.conversation = ""
                raise
            except ConversationBusy as busy:
                # A reply that was just stopped takes a moment to be stored. Nothing was done yet for this one.
                if not tries_left:
                    raise
                await asyncio.sleep(min(busy.retry_after or _BUSY_WAIT_SECONDS, _BUSY_WAIT_SECONDS))

    async def _show_once(self, reply: Reply) -> None:
        self._reply = reply
        try:
            with silent_keys():
                await self.screen.reply(reply)
        finally:
            self._reply = None
            if reply.started is not None:
                self.conversation = reply.started.conversation
        if reply.cancelled:
            self.screen.note(self.words("stopped"))
        elif reply.finished is not None and (note := note_of(reply.finished.message.finish_reason)):
            self.screen.note(self.words(note))

    async def _tell_about_language(self, text: str) -> None:
        if self._language_told or not possible_languages(text):
            return
        model = await self.known_model()
        if notice := language_notice(text, model.id, model.languages):
            self._language_told = True
            self.screen.note(notice)
