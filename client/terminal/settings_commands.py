"""The commands about how replies are written: `/set`, `/show`, `/recall`, `/language`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from client.terminal import sampling
from client.terminal.completion import SETTINGS
from client.terminal.messages import LANGUAGES
from client.terminal.recalled import recalled_lines

if TYPE_CHECKING:
    from client.terminal.session import Session


class SettingsCommands:
    """Carries them out in a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._screen = session.screen

    async def set(self, argument: str) -> None:
        """`/set NAME VALUE`."""
        words = self._session.words
        name, _, value = argument.partition(" ")
        value = value.strip()
        names = ", ".join(SETTINGS)
        if not name or (name in SETTINGS and not value):
            self._screen.note(words("set_usage", names=names))
        elif name == sampling.SYSTEM:
            await self._set_system("" if value == sampling.DEFAULT else value)
        elif name in sampling.SAMPLING_NAMES:
            self._set_sampling(name, value)
        else:
            self._screen.error(words("unknown_setting", name=name, names=names))

    async def recall(self, argument: str) -> None:
        """`/recall on`, `/recall off`, or `/recall`: what was recalled for the last reply, in full."""
        words = self._session.words
        if argument in ("on", "off"):
            self._session.recall = dataclasses.replace(self._session.recall, enabled=argument == "on")
        elif argument:
            self._screen.error(words("recall_usage", value=argument))
            return
        self._screen.note(words("recall_off" if self._session.recall.enabled is False else "recall_on"))
        if not argument:
            lines = await recalled_lines(self._session.recalled, self._session.conversations, words, columns=None)
            for line in lines or [words("nothing_recalled")]:
                self._screen.note(line)

    async def language(self, argument: str) -> None:
        """`/language en` or `/language ru`."""
        chosen = LANGUAGES.get(argument.lower())
        if chosen is None:
            self._screen.error(self._session.words("language_usage"))
            return
        self._session.words = chosen
        self._screen.note(chosen("language"))

    async def show(self, _: str) -> None:
        """`/show`."""
        words = self._session.words
        model = await self._session.known_model()
        details = " · ".join(part for part in (model.weights, model.device, model.description) if part)
        self._screen.say(words("show_model", id=model.id, details=details, context=model.context_tokens))
        system = ""
        if self._session.conversation:
            conversation = await self._session.client.get_conversation(self._session.conversation)
            system = conversation.system_prompt
            count = words.messages(conversation.message_count)
            title = self._session.title(conversation)
            self._screen.say(words("show_conversation", title=title, count=count))
        else:
            self._screen.say(words("show_new_conversation"))
        self._screen.say(words("show_system", text=system) if system else words("show_no_system"))
        self._screen.say(words("recall_off" if self._session.recall.enabled is False else "recall_on"))
        for name in sampling.SAMPLING_NAMES:
            own = sampling.shown(self._session.sampling, name)
            default = sampling.shown(model.default_sampling, name)
            if own is not None:
                self._screen.say(words("set", name=name, value=own))
            elif default is not None:
                self._screen.note(words("show_default", name=name, value=default))
            else:
                self._screen.note(words("show_random", name=name))

    def _set_sampling(self, name: str, value: str) -> None:
        words = self._session.words
        try:
            self._session.sampling = sampling.changed(self._session.sampling, name, value)
        except sampling.WrongValue as wrong:
            self._screen.error(words(wrong.key, name=name, value=value, **wrong.limits))
            return
        now = sampling.shown(self._session.sampling, name)
        self._screen.note(words("unset", name=name) if now is None else words("set", name=name, value=now))

    async def _set_system(self, text: str) -> None:
        words, client = self._session.words, self._session.client
        if self._session.conversation:
            await client.update_conversation(self._session.conversation, system_prompt=text)
        elif text:
            created = await client.create_conversation(system_prompt=text)
            self._session.go_to(created.name)
        self._screen.note(words("set", name=sampling.SYSTEM, value=text) if text else words("unset_system"))
