"""`/export`: what was said, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from client.terminal.export_file import SUFFIXES, file_name, markdown_of, written
from client.values import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from client.terminal.session import Session
    from client.values import Conversation


class ExportCommand:
    """Writes this conversation, or all, to a file that the person names."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._messages = 0

    async def run(self, argument: str) -> None:
        """`/export [all] FILE`. Without FILE: the conversation's title names it, in the folder one is in."""
        session, words = self._session, self._session.words
        first, _, rest = argument.partition(" ")
        everything = first == "all"
        name = rest.strip() if everything else argument
        if not everything and not session.conversation:
            session.screen.error(words("no_conversation"))
            return
        if not name and not everything:
            name = file_name((await session.client.get_conversation(session.conversation)).title)
        path = Path(name)
        if path.suffix not in SUFFIXES:
            session.screen.error(words("export_usage"))
            return
        conversation = "" if everything else session.conversation
        try:
            path, replace = _place(path)
            if replace and not await session.confirm(words("confirm_overwrite", path=path)):
                session.screen.note(words("kept"))
                return
            await self._write(path, conversation, replace=replace)
        except (OSError, RuntimeError) as failure:  # RuntimeError: ~somebody who is nobody
            why = failure.strerror if isinstance(failure, OSError) else None
            session.screen.error(words("not_written", path=path, why=why or type(failure).__name__))
            return
        session.screen.note(words("exported", count=words.messages(self._messages), path=path))

    async def _write(self, path: Path, conversation: str, *, replace: bool) -> None:
        self._messages = 0
        client, words = self._session.client, self._session.words
        with written(path, replace=replace) as file:
            if path.suffix == ".jsonl":
                async for line in client.export_lines(conversation):
                    self._messages += line.startswith('{"message"')
                    file.write(line)
            else:
                async for text in markdown_of(self._counted(client.export(conversation)), words):
                    file.write(text)

    async def _counted(self, records: AsyncIterator[Conversation | Message]) -> AsyncIterator[Conversation | Message]:
        async for record in records:
            self._messages += isinstance(record, Message) and not record.superseded
            yield record


def _place(path: Path) -> tuple[Path, bool]:
    """Returns where that is, and whether something is there."""
    path = path.expanduser()
    return path, path.exists()
