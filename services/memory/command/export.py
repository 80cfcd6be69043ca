"""`export`: writes conversations as lines of JSON."""

from __future__ import annotations

import os
import sys
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from services.memory import field_checks
from services.memory.command.outcome import WHOLE, CannotRun
from services.memory.command.progress import Steps, counted, say
from services.memory.command.remote import connected
from services.memory.command.user_lines import user_line
from services.memory.export_records import export_records
from services.memory.jsonl import to_lines
from services.memory.resource_name import parse_conversation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from chatbot.v1 import memory_service_pb2 as pb
    from services.memory.command.arguments import Options
    from services.memory.command.desk import Desk
    from services.memory.store import Store

_USERS_AT_ONCE = 500


class _Export:
    """What is being written, and how much of it there was."""

    def __init__(self, out: BinaryIO, total: int | None) -> None:
        self._out = out
        self._steps = Steps("Exporting messages", total)
        self.conversations = 0
        self.messages = 0

    def begin(self, user_id: str) -> None:
        """Says whose the next records are."""
        self._out.write(user_line(user_id).encode())

    async def write(self, records: AsyncIterator[pb.ExportRecord]) -> None:
        with self._steps as steps:
            async for record in records:
                for line in to_lines([record]):
                    self._out.write(line.encode())
                if record.HasField("message"):
                    self.messages += 1
                    steps.advance()
                else:
                    self.conversations += 1


async def export(options: Options, desk: Desk) -> int:
    """Writes the file, which appears when it is complete.

    Raises:
        CannotRun: The options do not go together, or the file is there already.
        ConversationNotFound: The user has no such conversation.
    """
    user_id = options.user_id
    if user_id is not None:
        field_checks.user("--user", user_id)
    elif options.conversation is not None or options.address is not None:
        raise CannotRun("--conversation and --address need --user, which says whose.")
    conversation = None
    if options.conversation is not None:
        conversation = parse_conversation("--conversation", options.conversation)
    with _target(options.file, force=options.force) as out:
        if options.address is not None and user_id is not None:
            done = _Export(out, None)
            async with connected(options.address) as remote:
                await done.write(remote.records(user_id, conversation))
        else:
            async with desk.store() as store:
                done = _Export(out, None if user_id is not None else (await store.statistics(0)).messages)
                if user_id is None:
                    await done.write(_everyone(store, done))
                else:
                    await done.write(export_records(store, user_id, conversation))
    say(f"Exported {counted(done.conversations, 'conversation')} with {counted(done.messages, 'message')}.")
    return WHOLE


async def _everyone(store: Store, export: _Export) -> AsyncIterator[pb.ExportRecord]:
    last = ""
    while users := await store.users_after(last, _USERS_AT_ONCE):
        for user_id in users:
            export.begin(user_id)
            async with aclosing(export_records(store, user_id, None)) as records:
                async for record in records:
                    yield record
        last = users[-1]


@contextmanager
def _target(file: Path | None, *, force: bool) -> Iterator[BinaryIO]:
    """Lends where to write: standard output, or a new file that takes its name when all is in it."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists() and not force:
        raise _there_already(file)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        # What people wrote is not for other users of the machine.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        if file.exists() and not force:
            raise _there_already(file)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _there_already(file: Path) -> CannotRun:
    return CannotRun(f"{file} is there already; give another name, or --force to write over it.")
