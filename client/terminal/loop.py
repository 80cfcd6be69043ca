"""The terminal's loop: prompt, message or command, reply, and again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from client.errors import ChatbotError, NotConnected
from client.terminal.commands import Commands
from client.terminal.keyboard import QUOTES, interrupts_go_to
from client.terminal.lines import error_line, model_line

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from client.terminal.keyboard import Prompt
    from client.terminal.messages import Words
    from client.terminal.session import Session


class TerminalLoop:
    """Talks at the prompt, one step at a time.

    Args:
        session: What lines are said in, and commands carried out.
        prompt: Where lines come from.
    """

    def __init__(self, session: Session, prompt: Prompt) -> None:
        self._session = session
        self._screen = session.screen
        self._prompt = prompt
        self._commands = Commands(session)
        self._step: asyncio.Task[bool] | None = None

    async def run(self, *, resume: bool) -> None:
        """Talks until the user leaves."""
        with interrupts_go_to(self._interrupt):
            await self._attempt(self._open(resume=resume))
            while (line := await self._ask()) is not None:
                if await self._attempt(self._take(line)):
                    return

    @property
    def _words(self) -> Words:
        return self._session.words

    async def _ask(self) -> str | None:
        async with self._session.connection.watching():
            return await self._prompt.ask()

    async def _open(self, *, resume: bool) -> bool:
        session, words = self._session, self._words
        self._screen.say(model_line(await session.known_model()))
        if resume:
            async for latest in session.client.list_conversations(page_size=1):
                session.conversation = latest.name
                count = words.messages(latest.message_count)
                self._screen.note(words("resumed", title=session.title(latest), count=count))
                break
        self._screen.note(words("keys"))
        return False

    async def _take(self, line: str) -> bool:
        """Does what one line asks for; tells whether it was to leave."""
        await self._session.follow_unanswered()
        quoted = line.strip()
        if quoted.startswith(QUOTES):
            text = quoted.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
        elif line.startswith("/"):
            return await self._commands.run(line)
        else:
            text = line.strip()
        if text.strip():
            await self._session.say(text)
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
            self._screen.note(self._words("stopped"))
        except ChatbotError as error:
            line = error_line(self._words, error, self._session.client.address)
            self._session.connection.lost = isinstance(error, NotConnected)
            self._screen.error(f"{line} {self._words('next_tries_again')}" if isinstance(error, NotConnected) else line)
        except BrokenPipeError:
            raise  # nobody sees the screen any more
        except Exception as fault:
            # A fault of this program must not cost the person the session; its text may quote what was said.
            self._screen.error(self._words("unexpected", kind=type(fault).__name__))
        finally:
            self._step = None
        return False

    def _interrupt(self) -> None:
        if not self._session.stop_reply() and self._step is not None:
            self._step.cancel()
