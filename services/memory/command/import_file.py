"""`import`: takes an export in, all of it or nothing."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from services.memory import field_checks
from services.memory.command.outcome import WHOLE, CannotRun
from services.memory.command.progress import Steps, counted, say
from services.memory.command.remote import connected
from services.memory.command.user_lines import user_conversations, user_records
from services.rpc.errors import InvalidArgument, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from chatbot.v1 import memory_service_pb2 as pb
    from services.memory.command.arguments import Options
    from services.memory.command.desk import Desk
    from services.memory.conversation import Counts, ImportedConversation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found:
    """What is in the file."""

    users: frozenset[str]
    messages: int


async def import_file(options: Options, desk: Desk) -> int:
    """Reads the file twice: to see that all of it is right, then to store it in one transaction.

    Raises:
        CannotRun: The file is of several users, for a service that takes one at a time.
        InvalidArgument: The file is no export.
    """
    if options.user_id is not None:
        field_checks.user("--user", options.user_id)
    with _source(options.file) as source:
        reading = _Reading(source, options.user_id)
        found = await reading.ended_with(asyncio.to_thread(reading.survey))
        if options.address is not None:
            counts = await _through(options.address, reading, found)
        else:
            with Steps("Storing messages", found.messages) as steps:
                async with desk.store(make=True) as store:
                    counts = await reading.ended_with(
                        store.import_users(lambda: reading.conversations(steps), str(uuid.uuid4()))
                    )
    say(f"Imported {counted(counts.conversations, 'conversation')} with {counted(counts.messages, 'message')}.")
    return WHOLE


class _Reading:
    """The file, read from its beginning as often as is asked for, on any one thread."""

    def __init__(self, source: BinaryIO, user_id: str | None) -> None:
        self._source = source
        self._stop = threading.Event()
        self.user_id = user_id

    async def ended_with(self, work: Awaitable[T]) -> T:
        """Awaits work that reads on another thread, and ends that where the caller is cancelled."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.gather(task, return_exceptions=True)
            raise

    def survey(self) -> _Found:
        """Reads all of it. Raises InvalidArgument or MessageNotFound where it is no export."""
        users = set()
        messages = 0
        with Steps("Reading conversations", None) as steps:
            for user_id, each in user_conversations(self.lines(), self.user_id):
                users.add(user_id)
                messages += len(each.messages)
                steps.advance()
        return _Found(frozenset(users), messages)

    def conversations(self, steps: Steps) -> Iterator[tuple[str, ImportedConversation]]:
        """Yields whose each conversation is, and the conversation."""
        for user_id, each in user_conversations(self.lines(), self.user_id):
            yield user_id, each
            steps.advance(len(each.messages))

    def lines(self) -> Iterator[str]:
        """Yields the lines. Raises InvalidArgument where one is not UTF-8, ShuttingDown where reading is to end."""
        self._source.seek(0)
        for number, line in enumerate(self._source, start=1):
            if self._stop.is_set():
                raise ShuttingDown("The import was ended.")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidArgument(f"Line {number} is not UTF-8.") from None


async def _through(address: str, reading: _Reading, found: _Found) -> Counts:
    if len(found.users) > 1:
        raise CannotRun("The file is of several users; a running service takes one user's at a time, with --user.")
    user_id = next(iter(found.users), reading.user_id)
    if user_id is None:
        raise CannotRun("The file is empty.")
    async with connected(address) as remote:
        with Steps("Sending messages", found.messages) as steps:

            def records() -> Iterator[pb.ExportRecord]:
                for _, record in user_records(reading.lines(), reading.user_id):
                    yield record
                    steps.advance(record.HasField("message"))

            return await remote.take_in(user_id, records())


@contextmanager
def _source(file: Path | None) -> Iterator[BinaryIO]:
    """Lends the file, or a copy without a name of what can be read once only."""
    if file is None:
        with _copied(sys.stdin.buffer) as copy:
            yield copy
        return
    with file.open("rb") as given:
        if given.seekable():
            yield given
        else:
            with _copied(given) as copy:
                yield copy


@contextmanager
def _copied(given: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(given, copy)
        yield copy
