"""The commands that begin with a slash."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from client.terminal.conversation_list import LISTED
from client.terminal.export_command import ExportCommand
from client.terminal.prompt_view import show_context
from client.terminal.recalled import speaker, when
from client.terminal.settings_commands import SettingsCommands
from client.values import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from client.terminal.messages import Words
    from client.terminal.session import Session
    from client.values import Conversation, Message

_SHOWN_ON_OPEN = 6
_HIT_LENGTH = 200


class Commands:
    """Carries out commands in a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._screen = session.screen
        settings = SettingsCommands(session)
        self._actions: dict[str, Callable[[str], Awaitable[None]]] = {
            "/help": self._help,
            "/new": self._new,
            "/list": self._list,
            "/open": self._open,
            "/search": self._search,
            "/regenerate": self._regenerate,
            "/recall": settings.recall,
            "/context": self._context,
            "/stats": self._stats,
            "/export": ExportCommand(session).run,
            "/delete": self._delete,
            "/set": settings.set,
            "/show": settings.show,
            "/language": settings.language,
        }

    @property
    def _words(self) -> Words:
        return self._session.words

    async def run(self, line: str) -> bool:
        """Carries out one command; tells whether it was to leave."""
        command, _, rest = line.strip().partition(" ")
        if command in ("/quit", "/exit"):
            return True
        action = self._actions.get(command)
        if action is not None:
            await action(rest.strip())
            return False
        nearest = difflib.get_close_matches(command, [*self._actions, "/quit"], n=1)
        self._screen.error(
            self._words("unknown_command", command=command, nearest=nearest[0])
            if nearest
            else self._words("unknown_command_help", command=command)
        )
        return False

    async def _help(self, _: str) -> None:
        self._screen.say(self._words("help"))

    async def _new(self, _: str) -> None:
        self._session.go_to("")
        self._screen.note(self._words("new"))

    async def _list(self, _: str) -> None:
        listed, more = await self._session.conversations.renew()
        if not listed:
            self._screen.note(self._words("no_conversations"))
        for number, conversation in enumerate(listed, 1):
            here = "*" if conversation.name == self._session.conversation else " "
            count = self._words.messages(conversation.message_count)
            title = self._session.title(conversation)
            self._screen.say(f"{here}{number:3}  {when(conversation.update_time)}  {title} ({count})")
        if more:
            self._screen.note(self._words("list_more", count=LISTED))

    async def _open(self, argument: str) -> None:
        conversation = await self._conversation(argument, usage="/open")
        if conversation is None:
            return
        newest: list[Message] = []
        async for message in self._session.client.list_messages(
            conversation.name, newest_first=True, page_size=_SHOWN_ON_OPEN
        ):
            newest.append(message)
            if len(newest) == _SHOWN_ON_OPEN:
                break
        self._session.go_to(conversation.name)
        count = self._words.messages(conversation.message_count)
        self._screen.note(self._words("opened", title=self._session.title(conversation), count=count))
        if not newest:
            self._screen.note(self._words("no_messages"))
        elif earlier := newest[-1].sequence - 1:
            self._screen.note(self._words("earlier", count=self._words.messages(earlier)))
        for message in reversed(newest):
            if message.role is Role.USER:
                self._screen.say(f"> {message.content}")
            else:
                self._screen.markdown(message.content)

    async def _search(self, query: str) -> None:
        if not query:
            self._screen.error(self._words("wants_words"))
            return
        hits = await self._session.client.search(query)
        if not hits:
            self._screen.note(self._words("no_hits"))
        for hit in hits:
            message = hit.message
            content = " ".join(message.content.split())
            if len(content) > _HIT_LENGTH:
                content = content[: _HIT_LENGTH - 1] + "…"
            number = await self._session.conversations.number_of(message.conversation)
            self._screen.note(f"{when(message.create_time)}  {speaker(message, self._words)}  /open {number}")
            self._screen.say(content, indent=4)

    async def _regenerate(self, _: str) -> None:
        if not self._session.conversation:
            self._screen.error(self._words("no_conversation"))
            return
        await self._session.regenerate()

    async def _context(self, text: str) -> None:
        if not text:
            self._screen.error(self._words("wants_text"))
            return
        context = await self._session.client.get_context(
            text, conversation=self._session.conversation, recall=self._session.recall
        )
        show_context(context, self._screen, self._words)

    async def _stats(self, _: str) -> None:
        for line in self._session.statistics.lines(self._words):
            self._screen.say(line)

    async def _delete(self, argument: str) -> None:
        if argument:
            conversation = await self._conversation(argument, usage="/delete")
            if conversation is None:
                return
        elif self._session.conversation:
            conversation = await self._session.client.get_conversation(self._session.conversation)
        else:
            self._screen.error(self._words("no_conversation"))
            return
        if not await self._session.confirm(self._words("confirm_delete", title=self._session.title(conversation))):
            self._screen.note(self._words("kept"))
            return
        await self._session.client.delete_conversation(conversation.name)
        if conversation.name == self._session.conversation:
            self._session.go_to("")
        # The others keep the numbers that were shown until the next list.
        self._screen.note(self._words("deleted"))

    async def _conversation(self, number: str, *, usage: str) -> Conversation | None:
        found = await self._session.conversations.get(number)
        if found is None:
            self._screen.error(self._words("wants_number", usage=usage))
        return found
