"""The keyboard: the prompt with its history, and Ctrl-C while something is under way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import create_output

if sys.platform != "win32":
    import termios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prompt_toolkit.completion import Completer
    from prompt_toolkit.key_binding import KeyPressEvent
    from prompt_toolkit.output import Output

QUOTES = '"""'
"""Begins and ends a message of several lines."""

_HISTORY_FILE = "terminal-history"


def history_path() -> Path:
    """Returns where the input history is kept: in the data folder of the backend's own settings."""
    folder = os.environ.get("CHATBOT_DATA_DIR")
    return Path(folder or platformdirs.user_data_dir("chatbot", appauthor=False)) / _HISTORY_FILE


def open_history(path: Path) -> History:
    """Opens the history, readable by its owner only; one that lasts this session where the file can't be used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def is_open_quote(text: str) -> bool:
    """Tells whether a message of several lines has begun and not ended."""
    begun = text.lstrip().startswith(QUOTES)
    return begun and not (len(text.strip()) >= 2 * len(QUOTES) and text.rstrip().endswith(QUOTES))


class Prompt:
    """Asks for a line, or for several between `QUOTES`. Ctrl-C clears what was typed."""

    def __init__(self, history: History) -> None:
        keys = KeyBindings()

        @keys.add("c-c")
        def clear(event: KeyPressEvent) -> None:
            event.current_buffer.reset()

        self._session: PromptSession[str] = PromptSession(
            "> ",
            history=history,
            key_bindings=keys,
            multiline=Condition(lambda: is_open_quote(self._session.default_buffer.text)),
            prompt_continuation="  ",
            # Asked for with Tab, never by itself: over a slow line every key would wait for it.
            complete_while_typing=False,
            output=_output(),
        )

    def complete_with(self, completer: Completer) -> None:
        """Has Tab complete what is typed."""
        self._session.completer = completer

    async def ask(self) -> str | None:
        """Returns what was typed; None at Ctrl-D."""
        try:
            return await self._session.prompt_async(handle_sigint=False)
        except EOFError:
            return None

    async def above(self, write: Callable[[], None]) -> None:
        """Has something written above the prompt; what is typed stays as it is."""
        await run_in_terminal(write)

    async def confirm(self, question: str, yes: tuple[str, ...]) -> bool:
        """Asks a question, and tells whether the answer was one of `yes`. Ctrl-C and Ctrl-D are no."""
        session: PromptSession[str] = PromptSession(output=_output())
        try:
            answer = await session.prompt_async(question, handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            return False
        return answer.strip().lower() in yes


def _output() -> Output | None:
    # The prompt is for the person, also where standard output goes to a file. Otherwise prompt_toolkit chooses: it
    # knows dumb terminals.
    return None if sys.stdout.isatty() else create_output(always_prefer_tty=True)


@contextlib.contextmanager
def interrupts_go_to(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` on Ctrl-C for as long as the context lasts. To be entered on the event loop."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, stop)
    except NotImplementedError:
        # Windows: no signal handlers on the loop.
        before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextlib.contextmanager
def silent_keys() -> Iterator[None]:
    """Shows no keys that are pressed meanwhile; they are there for the next prompt. Ctrl-C works on."""
    if sys.platform == "win32":
        yield
        return
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (termios.error, OSError, ValueError):
        yield
        return
    silent = termios.tcgetattr(descriptor)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    # Without this Ctrl-C drops what is on its way to the screen, half an escape sequence perhaps.
    silent[3] |= termios.NOFLSH
    termios.tcsetattr(descriptor, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
