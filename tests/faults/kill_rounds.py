"""Kills a process that writes, at random moments, many times over, and checks what it leaves against what it said.

    PYTHONPATH=.:gen python tests/faults/kill_rounds.py --rounds 1000 --seed 7 --report FILE

Each round forks a process that opens the store, tells what it finds, and then has several writers append batches,
each to a conversation of its own, while another writer makes conversations and deletes them. It writes a line to a
pipe for each answer of the store. SIGKILL ends it: mostly some answers into the load, at times while it opens. Its
successor first repeats what was not answered, under the same `request_id`.

Checked in each round, and for everything once more at the end: every acknowledged message is there, once, at the
sequence that was answered, in order; a batch that was not acknowledged is there whole or not at all; what was
acknowledged as deleted is not found. Ends with 1 and the seed where anything is wrong.

What this shows is that a killed process loses nothing. That a machine which loses its power loses nothing is for
`synchronous=FULL` and fsync to see to; no test here cuts the power.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import SecretStr

from services.memory.conversation import ConversationDraft
from services.memory.message import Append, MessageDraft, MessageQuery, Role
from services.memory.store import Store, WriteRequest, open_postgres_store, open_sqlite_store
from services.rpc.errors import ConversationNotFound

USER = "writer-{}"
LONGEST_BATCH = 4


@dataclass
class Writer:
    """What one writer was told, and how far its conversation was checked."""

    conversation: str = ""
    next_batch: int = 0
    checked: int = 0
    acknowledged: dict[int, int] = field(default_factory=dict)
    """First sequence by batch; batches that were checked are dropped."""


@dataclass
class Result:
    """What the rounds came to."""

    rounds: int
    seed: int
    writers: int
    database: str
    kills_while_opening: int = 0
    acknowledged_batches: int = 0
    acknowledged_messages: int = 0
    acknowledged_deletions: int = 0
    unacknowledged_batches_found_whole: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def batch_texts(writer: int, batch: int) -> list[str]:
    """Returns what a batch says: its writer, its number, and which part of how many each message is."""
    size = 1 + (batch * 7 + writer) % LONGEST_BATCH
    return [f"{writer} {batch} {part}/{size}" for part in range(size)]


def write_request(kind: str, writer: int, number: int) -> WriteRequest:
    """Returns the same request each time it is asked for."""
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {writer} {number}"))
    return WriteRequest(USER.format(writer), request_id, f"{kind} {writer} {number}".encode())


class Child:
    """The process that is killed: writes a line to `pipe` for everything that the store answers."""

    def __init__(self, database: str, pipe: int, writers: list[Writer], deleted: int) -> None:
        self._database = database
        self._pipe = pipe
        self._writers = writers
        self._deleted = deleted
        self._store: Store

    def run(self) -> None:
        asyncio.run(self._main())

    def _say(self, *words: object) -> None:
        os.write(self._pipe, (" ".join(map(str, words)) + "\n").encode())

    async def _main(self) -> None:
        self._store = await opened(self._database)
        await asyncio.gather(*(self._tell(number) for number in range(len(self._writers))))
        self._say("ready")
        await asyncio.gather(self._delete(), *(self._append(number) for number in range(len(self._writers))))

    async def _tell(self, number: int) -> None:
        """Says what is stored past what was checked before."""
        writer = self._writers[number]
        if writer.conversation:
            for sequence, text in await tail(self._store, number, writer.conversation, writer.checked):
                self._say("found", number, sequence, text)

    async def _append(self, number: int) -> None:
        writer = self._writers[number]
        if not writer.conversation:
            made = await self._store.create_conversation(ConversationDraft("", ""), write_request("create", number, 0))
            writer.conversation = made.id
            self._say("conversation", number, made.id)
        while True:
            drafts = tuple(MessageDraft(Role.USER, text) for text in batch_texts(number, writer.next_batch))
            request = write_request("append", number, writer.next_batch)
            stored = await self._store.append_messages(Append(writer.conversation, drafts), request)
            self._say("stored", number, writer.next_batch, stored.messages[0].sequence)
            writer.next_batch += 1

    async def _delete(self) -> None:
        """Makes conversations and deletes them, which also empties the log of an SQLite file."""
        number = self._deleted
        while True:
            made = write_request("made", 10_000, number)
            try:
                talk = await self._store.create_conversation(ConversationDraft("secret", ""), made)
                await self._store.append_messages(
                    Append(talk.id, (MessageDraft(Role.USER, "secret"),)), write_request("said", 10_000, number)
                )
                await self._store.delete_conversation(talk.id, write_request("delete", 10_000, number))
                self._say("deleted", number, talk.id)
            except ConversationNotFound:
                # The process before deleted it and was killed before it could say so.
                self._say("deleted", number, "-")
            number += 1
            await asyncio.sleep(0.002)


async def opened(database: str) -> Store:
    """Opens an address, or a file."""
    if database.startswith("postgresql://"):
        return await open_postgres_store(SecretStr(database), 4, 30)
    return await open_sqlite_store(Path(database))


async def tail(store: Store, number: int, conversation: str, after: int) -> list[tuple[int, str]]:
    """Returns sequences and texts past `after`."""
    found: list[tuple[int, str]] = []
    while True:
        query = MessageQuery(conversation, 1000, include_superseded=True, after=found[-1][0] if found else after)
        page = await store.list_messages(USER.format(number), query)
        found += [(message.sequence, message.content) for message in page.messages]
        if not page.more:
            return found


class Rounds:
    """Starts, kills and checks."""

    def __init__(self, database: str, count: int, seed: int, writers: int) -> None:
        self._database = database
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        self._writers = [Writer() for _ in range(writers)]
        self._deleted: list[str] = []
        name = "postgresql" if database.startswith("postgresql://") else "sqlite"
        self.result = Result(count, seed, writers, name)

    def run(self) -> Result:
        began = time.monotonic()
        for number in range(self.result.rounds):
            self._round(number)
            if self.result.faults:
                break
        asyncio.run(self._check_everything())
        self.result.seconds = round(time.monotonic() - began, 1)
        return self.result

    def _round(self, number: int) -> None:
        reader, pipe = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                Child(self._database, pipe, self._writers, len(self._deleted)).run()
            except BaseException as failure:
                os.write(pipe, f"failed {type(failure).__name__} {failure}\n".encode())
            os._exit(1)
        os.close(pipe)
        # The very first may take its time for making the tables, so that some are killed doing just that.
        at_opening = self._random.random() < 0.2
        answers = self._random.randint(0, 40)
        pause = self._random.uniform(0, 0.08) if at_opening else self._random.uniform(0, 0.01)
        self.result.kills_while_opening += at_opening
        lines = _Lines(reader)
        if not at_opening:
            lines.read_until_answers(answers, 30)
        time.sleep(pause)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = list(lines.rest())
        os.close(reader)
        try:
            self._check(said)
        except AssertionError as fault:
            self.result.faults.append(f"round {number}: {fault}")

    def _check(self, said: list[list[str]]) -> None:
        found: dict[int, list[tuple[int, str]]] = {}
        ready = ["ready"] in said
        for words in said:
            if words[0] == "found":
                found.setdefault(int(words[1]), []).append((int(words[2]), " ".join(words[3:])))
        if ready:
            for number in range(len(self._writers)):
                self._check_tail(number, found.get(number, []))
        for words in said:
            if words[0] == "failed":
                raise AssertionError(" ".join(words))
            if words[0] == "conversation":
                self._writers[int(words[1])].conversation = words[2]
            elif words[0] == "stored":
                self._note(int(words[1]), int(words[2]), int(words[3]))
            elif words[0] == "deleted":
                assert int(words[1]) == len(self._deleted), "a deletion was skipped"
                self._deleted.append(words[2])
                self.result.acknowledged_deletions += 1

    def _note(self, number: int, batch: int, sequence: int) -> None:
        writer = self._writers[number]
        assert batch == writer.next_batch, f"writer {number} was answered for batch {batch}, not {writer.next_batch}"
        writer.acknowledged[batch] = sequence
        writer.next_batch += 1
        self.result.acknowledged_batches += 1
        self.result.acknowledged_messages += len(batch_texts(number, batch))

    def _check_tail(self, number: int, found: list[tuple[int, str]]) -> None:
        """Checks what is stored past what was checked before: acknowledged batches, then at most one other, whole."""
        writer = self._writers[number]
        place = 0
        for batch in sorted(writer.acknowledged):
            texts = batch_texts(number, batch)
            first = writer.acknowledged[batch]
            wanted = [(first + part, text) for part, text in enumerate(texts)]
            told = found[place : place + len(texts)]
            assert told == wanted, f"writer {number} batch {batch}: acknowledged {wanted}, stored {told}"
            place += len(texts)
        checked = writer.checked + place
        rest = found[place:]
        if rest:
            texts = batch_texts(number, writer.next_batch)
            wanted = [(checked + 1 + part, text) for part, text in enumerate(texts)]
            assert rest == wanted, f"writer {number}: not acknowledged {wanted}, stored {rest}"
            self.result.unacknowledged_batches_found_whole += 1
        # What was not acknowledged is repeated, and checked then.
        writer.checked = checked
        writer.acknowledged.clear()

    async def _check_everything(self) -> None:
        """Opens the database once more and reads all of it."""
        store = await opened(self._database)
        try:
            for number, writer in enumerate(self._writers):
                wanted = [text for batch in range(writer.next_batch) for text in batch_texts(number, batch)]
                found = await tail(store, number, writer.conversation, 0)
                self._hold([s for s, _ in found] == list(range(1, len(found) + 1)), f"writer {number}: sequences")
                texts = [text for _, text in found]
                extra = batch_texts(number, writer.next_batch)
                self._hold(texts in (wanted, wanted + extra), f"writer {number}: not what was acknowledged")
            for conversation in self._deleted:
                with suppress(ConversationNotFound):
                    await store.get_conversation(USER.format(10_000), conversation)
                    self._hold(False, f"conversation {conversation} was deleted and is there")
        finally:
            await store.close()

    def _hold(self, true: bool, otherwise: str) -> None:
        if not true:
            self.result.faults.append(otherwise)


class _Lines:
    """Lines of a pipe, kept."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._read = b""

    def read_until_answers(self, count: int, seconds: float) -> None:
        """Reads until the child is ready and then was answered so often, or has ended, or the time is over."""
        deadline = time.monotonic() + seconds
        while b"ready\n" not in self._read or self._read.count(b"\n", self._read.index(b"ready\n")) <= count:
            ready, _, _ = select.select([self._reader], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return
            piece = os.read(self._reader, 1 << 16)
            if not piece:
                return
            self._read += piece

    def rest(self) -> Iterator[list[str]]:
        """Yields all whole lines, once the child has ended."""
        while piece := os.read(self._reader, 1 << 16):
            self._read += piece
        for line in self._read.split(b"\n")[:-1]:
            yield line.decode().split(" ")


def main() -> int:
    """Runs the rounds that the command line asks for."""
    arguments = argparse.ArgumentParser(description="Kill a process that writes, and check what it leaves.")
    arguments.add_argument("--rounds", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments.add_argument("--writers", type=int, default=6)
    arguments.add_argument("--postgres", default=None, help="address of an empty PostgreSQL database; otherwise SQLite")
    arguments.add_argument("--report", type=Path, default=None, help="JSON file for the result")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-rounds-") as folder:
        database = chosen.postgres or str(Path(folder) / "memory.db")
        result = Rounds(database, chosen.rounds, chosen.seed, chosen.writers).run()
    text = json.dumps(asdict(result), indent=2, ensure_ascii=False)
    print(text)
    if chosen.report is not None:
        chosen.report.write_text(text + "\n", encoding="utf-8")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
