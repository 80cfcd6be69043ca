"""Our store and search beside the vector stores that people use, each in a process of its own, on one task."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from bench import machine
from bench.memory.client import quantiles
from bench.memory.store_task import CONVERSATION, FILTERS, LIMIT, Question, StoreTask
from bench.result import Observation
from services.memory.conversation import ConversationDraft
from services.memory.embedder import Embedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.embedding_queue import EmbeddingQueue
from services.memory.index_cache import IndexCache
from services.memory.message import Append, MessageDraft, MessageFilter, Role
from services.memory.search import Searcher, SearchQuery
from services.memory.store import WriteRequest, open_sqlite_store
from services.memory.terms import pack_terms
from services.memory.vector import NewVector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.memory.store import Store

PEERS = ("Chroma", "LanceDB", "mem0's FAISS")

_OURS = "ours"
_CACHE_BYTES = 512 * 1024 * 1024
_PEER_SECONDS = 400.0
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}


class PeerFailed(Exception):
    """A peer's process ended badly. The message says how."""


class _GivenQueries(Embedder):
    """Gives the task's vectors, each asked for by its number."""

    def __init__(self, task: StoreTask) -> None:
        self.id = "given"
        self.dimension = task.vectors.shape[1]
        self.reads_russian = False
        self._queries = task.queries

    @override
    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise AssertionError("the task's messages have vectors")

    @override
    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._queries[[int(text) for text in texts]]


class _Watch:
    """Turns what one store did into observations, a round at a time."""

    def __init__(self, task: StoreTask, *, ours: bool) -> None:
        self._task = task
        self._ours = ours
        self._question_of = {q.id: (number, q) for number, each in enumerate(task.rounds) for q in each}
        self._times: dict[tuple[int, str], list[float]] = {}
        self._recalls: dict[tuple[int, str], list[float]] = {}
        self._adds: list[float] = []

    def searched(self, number: int, seconds: float, found: Sequence[int]) -> None:
        place, question = self._question_of[number]
        key = (place, question.filter)
        stored = self._task.bulk + (place + 1) * self._task.adds
        recall = self._task.recall(question, found, ours=self._ours, stored=stored)
        self._times.setdefault(key, []).append(1000 * seconds)
        self._recalls.setdefault(key, []).append(recall)

    def added(self, seconds: float) -> None:
        self._adds.append(1000 * seconds)

    def observations(self, bulk_seconds: float) -> list[Observation]:
        task = self._task
        seen = [
            Observation(f"store, {CONVERSATION} messages at once", "rate", "messages/s", task.bulk / bulk_seconds),
            *quantiles("store one message", self._adds, (50, 95)),
        ]
        for (_, name), times in sorted(self._times.items(), key=lambda item: FILTERS.index(item[0][1])):
            seen += quantiles(_measure(name), times, (50, 95))
        for (_, name), recalls in sorted(self._recalls.items(), key=lambda item: FILTERS.index(item[0][1])):
            seen.append(Observation(_measure(name), f"recall_at_{LIMIT}", "share", float(np.mean(recalls))))
        return seen


async def ours(task: StoreTask, folder: Path) -> list[Observation]:
    """Measures our store, index and search, in this process."""
    store = await open_sqlite_store(folder / "memory.db")
    embedder = EmbedderThreads(_GivenQueries(task), 32)
    queue = None
    try:
        watch = _Watch(task, ours=True)
        name_of: dict[str, str] = {}
        began = time.perf_counter()
        for start in range(0, task.bulk, CONVERSATION):
            await _put(store, embedder.facts.id, task, range(start, min(start + CONVERSATION, task.bulk)), name_of)
        bulk_seconds = time.perf_counter() - began
        queue = EmbeddingQueue(store, embedder, 32)
        indexes = IndexCache(store, embedder.facts.id, embedder.facts.dimension, _CACHE_BYTES)
        searcher = Searcher(store, embedder, queue, indexes, 5.0)
        single = iter(range(task.bulk, len(task.rows)))
        for each in task.rounds:
            for _ in range(task.adds):
                one = next(single)
                began = time.perf_counter()
                await _put(store, embedder.facts.id, task, range(one, one + 1), name_of)
                watch.added(time.perf_counter() - began)
            for question in each:
                query = _query(question, name_of)
                began = time.perf_counter()
                hits = await searcher.search(question.wanted["user"], query)
                # A message's id is one more than its number: the database was empty.
                watch.searched(question.id, time.perf_counter() - began, [h.scored.message_id - 1 for h in hits])
        return watch.observations(bulk_seconds)
    finally:
        if queue is not None:
            await queue.close()
        await embedder.close()
        await store.close()


async def peer(name: str, task: StoreTask, folder: Path, python: Path) -> list[Observation]:
    """Measures a peer, by an interpreter that has it.

    Args:
        name: One of `PEERS`.
        task: Written to the folder already.
        folder: For its data.
        python: The interpreter.

    Raises:
        PeerFailed: Its process failed.
    """
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-m",
        "bench.memory.peer_stores",
        name,
        str(folder),
        cwd=machine.CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, errors = await asyncio.wait_for(process.communicate(), _PEER_SECONDS)
    except TimeoutError:
        raise PeerFailed(f"it took longer than {_PEER_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise PeerFailed((errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1][:300])
    watch = _Watch(task, ours=False)
    bulk_seconds = 0.0
    for line in said.decode().splitlines():
        one: dict[str, Any] = json.loads(line)
        if one["kind"] == "bulk":
            bulk_seconds = one["seconds"]
        elif one["kind"] == "add":
            watch.added(one["seconds"])
        else:
            watch.searched(one["id"], one["seconds"], one["found"])
    return watch.observations(bulk_seconds)


async def against_peers(
    task: StoreTask, folder: Path, python: Path | None, failures: dict[str, str], tell: Callable[[str], None]
) -> AsyncIterator[tuple[str, Observation]]:
    """Yields what was seen of ours, then of each peer; why one failed is noted.

    Args:
        task: What all are given.
        folder: Empty; for everybody's data.
        python: The peers' interpreter; None: ours alone.
        failures: Where that is noted.
        tell: Takes lines about progress.
    """
    for one in await ours(task, folder):
        yield _OURS, one
    if python is None:
        return
    task.write(folder)
    for name in PEERS:
        tell(f"the same by {name}")
        try:
            for one in await peer(name, task, folder, python):
                yield name, one
        except PeerFailed as failure:
            failures[name] = str(failure)


async def _put(store: Store, embedder: str, task: StoreTask, numbers: range, name_of: dict[str, str]) -> None:
    """Appends messages of one conversation and stores their vectors, both durably."""
    rows = [task.rows[i] for i in numbers]
    user, conversation = rows[0]["user"], rows[0]["conversation"]
    if conversation not in name_of:
        made = await store.create_conversation(ConversationDraft("", ""), _request(user))
        name_of[conversation] = made.id
    drafts = tuple(MessageDraft(_ROLES[row["role"]], "said", row["author"], row["time"]) for row in rows)
    await store.append_messages(Append(name_of[conversation], drafts), _request(user))
    terms = pack_terms("said")
    vector_of = {i + 1: NewVector(task.vectors[i].astype("<f2").tobytes(), terms) for i in numbers}
    await store.put_vectors(embedder, vector_of, task.vectors.shape[1])


def _query(question: Question, name_of: dict[str, str]) -> SearchQuery:
    wanted = question.wanted
    return SearchQuery(
        str(question.query),
        LIMIT,
        name_of[wanted["conversation"]] if "conversation" in wanted else None,
        MessageFilter(
            frozenset({_ROLES[wanted["role"]]} if "role" in wanted else ()),
            frozenset({wanted["author"]} if "author" in wanted else ()),
            wanted.get("since"),
        ),
    )


def _request(user_id: str) -> WriteRequest:
    return WriteRequest(user_id, str(uuid.uuid4()), b"")


def _measure(name: str) -> str:
    return "search a user" if name == "user" else f"search a user, filtered by {name}"
