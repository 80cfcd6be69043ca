"""What Tab completes: commands, and what they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from client.errors import ChatbotError
from client.terminal import sampling
from client.terminal.export_file import SUFFIXES
from client.terminal.messages import LANGUAGES
from client.terminal.text import shortened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from client.terminal.conversation_list import ConversationList

TAKEN: Mapping[str, str] = {
    "/context": "text",
    "/delete": "conversation",
    "/exit": "",
    "/export": "file",
    "/help": "",
    "/language": "language",
    "/list": "",
    "/new": "",
    "/open": "conversation",
    "/quit": "",
    "/recall": "switch",
    "/regenerate": "",
    "/search": "text",
    "/set": "setting",
    "/show": "",
    "/stats": "",
}
"""Every command, and what it takes."""

SETTINGS = (sampling.SYSTEM, *sampling.SAMPLING_NAMES)
"""What `/set` sets."""

_TITLE_COLUMNS = 50


class CommandCompleter(Completer):
    """Completes a line that begins with a slash; a message is the person's own."""

    def __init__(self, conversations: ConversationList) -> None:
        self._conversations = conversations
        self._paths = PathCompleter(
            expanduser=True, file_filter=lambda name: name.endswith(SUFFIXES), get_paths=lambda: ["."]
        )

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Completes nothing: conversations are asked for over the network, so only the other one is used."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yields what the word before the cursor can become."""
        line = document.text_before_cursor
        if not line.startswith("/") or "\n" in document.text:
            return
        command, space, argument = line.partition(" ")
        if not space:
            for name, takes in TAKEN.items():
                if name.startswith(command):
                    yield Completion(f"{name} " if takes else name, -len(command), display=name)
            return
        argument = argument.lstrip()
        match TAKEN.get(command):
            case "conversation":
                async for completion in self._conversation(argument):
                    yield completion
            case "setting":
                for completion in self._setting(argument):
                    yield completion
            case "switch":
                for completion in _of(("on", "off"), argument):
                    yield completion
            case "language":
                for completion in _of(tuple(LANGUAGES), argument):
                    yield completion
            case "file":
                rest = argument.removeprefix("all ").lstrip()
                if argument == rest:
                    for completion in _of(("all ",), argument):
                        yield completion
                for completion in self._paths.get_completions(Document(rest), complete_event):
                    yield completion

    async def _conversation(self, typed: str) -> AsyncIterator[Completion]:
        try:
            numbered = await self._conversations.numbered()
        except ChatbotError:
            return
        for number, conversation in enumerate(numbered, 1):
            title = shortened(conversation.title, _TITLE_COLUMNS)
            # By its number, or by words of its title: the number is what the command takes.
            if str(number).startswith(typed) or typed.casefold() in conversation.title.casefold():
                yield Completion(str(number), -len(typed), display=f"{number:3}  {title}")

    def _setting(self, argument: str) -> Iterable[Completion]:
        name, space, value = argument.partition(" ")
        if not space:
            yield from _of(tuple(f"{setting} " for setting in SETTINGS), name)
        elif name in SETTINGS:
            yield from _of((sampling.DEFAULT,), value)


def _of(choices: tuple[str, ...], typed: str) -> Iterable[Completion]:
    for choice in choices:
        if choice.startswith(typed):
            yield Completion(choice, -len(typed), display=choice.strip())
