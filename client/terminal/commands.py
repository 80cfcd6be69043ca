"""The commands that begin with a slash."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from client.terminal import sampling
from client.values import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from client.terminal.session import Session
    from client.values import Conversation, Message

_LISTED = 30
_SHOWN_ON_OPEN = 6
_HIT_LENGTH = 200
_SETTINGS = (sampling.SYSTEM, *sampling.SAMPLING_NAMES)


class Commands:
    """Carries out commands in a session, and knows which number stands for which conversation."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._screen = session.screen
        self._words = session.words
        self._numbered: list[Conversation] = []
        self._actions: dict[str, Callable[[str], Awaitable[None]]] = {
            "/help": self._help,
            "/new": self._new,
            "/list": self._list,
            "/open": self._open,
            "/search": self._search,
            "/regenerate": self._regenerate,
            "/delete": self._delete,
            "/set": self._set,
            "/show": self._show,
        }

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
        self._session.conversation = ""
        self._screen.note(self._words("new"))

    async def _list(self, _: str) -> None:
        more = await self._number_conversations()
        if not self._numbered:
            self._screen.note(self._words("no_conversations"))
        for number, conversation in enumerate(self._numbered, 1):
            here = "*" if conversation.name == self._session.conversation else " "
            count = self._words.messages(conversation.message_count)
            title = self._session.title(conversation)
            self._screen.say(f"{here}{number:3}  {_when(conversation.update_time)}  {title} ({count})")
        if more:
            self._screen.note(self._words("list_more", count=_LISTED))

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
        self._session.conversation = conversation.name
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
            number = await self._number_of(message.conversation)
            speaker = message.author or self._speaker(message.role)
            self._screen.note(f"{_when(message.create_time)}  {speaker}  /open {number}")
            self._screen.say(content, indent=4)

    async def _regenerate(self, _: str) -> None:
        if not self._session.conversation:
            self._screen.error(self._words("no_conversation"))
            return
        await self._session.regenerate()

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
        question = self._words("confirm_delete", title=self._session.title(conversation))
        if not await self._session.prompt.confirm(question, tuple(self._words("yes").split())):
            self._screen.note(self._words("kept"))
            return
        await self._session.client.delete_conversation(conversation.name)
        if conversation.name == self._session.conversation:
            self._session.conversation = ""
        # The others keep the numbers that were shown until the next list.
        self._screen.note(self._words("deleted"))

    async def _set(self, argument: str) -> None:
        name, _, value = argument.partition(" ")
        value = value.strip()
        names = ", ".join(_SETTINGS)
        if not name or (name in _SETTINGS and not value):
            self._screen.note(self._words("set_usage", names=names))
        elif name == sampling.SYSTEM:
            await self._set_system("" if value == sampling.DEFAULT else value)
        elif name in sampling.SAMPLING_NAMES:
            self._set_sampling(name, value)
        else:
            self._screen.error(self._words("unknown_setting", name=name, names=names))

    def _set_sampling(self, name: str, value: str) -> None:
        try:
            self._session.sampling = sampling.changed(self._session.sampling, name, value)
        except sampling.WrongValue as wrong:
            self._screen.error(self._words(wrong.key, name=name, value=value, **wrong.limits))
            return
        now = sampling.shown(self._session.sampling, name)
        self._screen.note(self._words("unset", name=name) if now is None else self._words("set", name=name, value=now))

    async def _set_system(self, text: str) -> None:
        client = self._session.client
        if self._session.conversation:
            await client.update_conversation(self._session.conversation, system_prompt=text)
        elif text:
            created = await client.create_conversation(system_prompt=text)
            self._session.conversation = created.name
        self._screen.note(self._words("set", name=sampling.SYSTEM, value=text) if text else self._words("unset_system"))

    async def _show(self, _: str) -> None:
        model = await self._session.known_model()
        details = " · ".join(part for part in (model.weights, model.device, model.description) if part)
        self._screen.say(self._words("show_model", id=model.id, details=details, context=model.context_tokens))
        system = ""
        if self._session.conversation:
            conversation = await self._session.client.get_conversation(self._session.conversation)
            system = conversation.system_prompt
            count = self._words.messages(conversation.message_count)
            title = self._session.title(conversation)
            self._screen.say(self._words("show_conversation", title=title, count=count))
        else:
            self._screen.say(self._words("show_new_conversation"))
        self._screen.say(self._words("show_system", text=system) if system else self._words("show_no_system"))
        for name in sampling.SAMPLING_NAMES:
            own = sampling.shown(self._session.sampling, name)
            default = sampling.shown(model.default_sampling, name)
            if own is not None:
                self._screen.say(self._words("set", name=name, value=own))
            elif default is not None:
                self._screen.note(self._words("show_default", name=name, value=default))
            else:
                self._screen.note(self._words("show_random", name=name))

    async def _number_conversations(self) -> bool:
        """Numbers the most recently used conversations anew; tells whether there are more."""
        self._numbered = []
        async for conversation in self._session.client.list_conversations(page_size=_LISTED + 1):
            if len(self._numbered) == _LISTED:
                return True
            self._numbered.append(conversation)
        return False

    async def _conversation(self, number: str, *, usage: str) -> Conversation | None:
        if not self._numbered:
            await self._number_conversations()
        if number.isdecimal() and 1 <= int(number) <= len(self._numbered):
            # As it is now: it may have grown since it was listed, or be gone.
            return await self._session.client.get_conversation(self._numbered[int(number) - 1].name)
        self._screen.error(self._words("wants_number", usage=usage))
        return None

    async def _number_of(self, name: str) -> int:
        if not self._numbered:
            await self._number_conversations()
        for number, conversation in enumerate(self._numbered, 1):
            if conversation.name == name:
                return number
        self._numbered.append(await self._session.client.get_conversation(name))
        return len(self._numbered)

    def _speaker(self, role: Role) -> str:
        return self._words({Role.USER: "you", Role.ASSISTANT: "model"}.get(role, "system"))


def _when(time: datetime | None) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}" if time is not None else " " * 16
