"""One task for all stores: the same vectors, the same questions with the same filters, and what is right."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.memory.workload import Workload, questions, texts
from services.memory.ranking import NEIGHBOUR_WEIGHTS, sought

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.memory.embedder import Embedder

FILTERS = ("user", "conversation", "role", "author", "time")
"""A question is always of one user, and of what the name says beside that."""
LIMIT = 10
CONVERSATION = 200
"""Messages of a conversation; so many are stored at once."""

_ASSISTANTS = 2
"""Every so manieth message is an assistant's."""
_RARE = 97
"""Every so manieth is by the rarer author."""
_SPREAD = 0.5
"""How far from what a text means, in lengths of a vector, the messages are that say nearly the same."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: the query's number, whose messages are asked, and what else they must have."""

    id: int
    filter: str
    query: int
    wanted: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoreTask:
    """What each store is given.

    Attributes:
        vectors: Of messages, unit rows, as half floats hold them.
        queries: Unit rows.
        rows: Of each message: `user`, `conversation`, `role`, `author`, `time`.
        bulk: The first so many messages are stored before anything is asked.
        adds: So many more are stored, one by one, before each round's questions.
        rounds: Each round's questions.
    """

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    rows: Sequence[dict[str, Any]]
    bulk: int
    adds: int
    rounds: Sequence[Sequence[Question]]

    def write(self, folder: Path) -> None:
        """Writes what `peer_stores` reads."""
        np.save(folder / "vectors.npy", self.vectors)
        np.save(folder / "queries.npy", self.queries)
        asked = [[{"id": q.id, "query": q.query, "wanted": dict(q.wanted)} for q in each] for each in self.rounds]
        task = {"rows": list(self.rows), "bulk": self.bulk, "adds": self.adds, "batch": CONVERSATION, "limit": LIMIT}
        (folder / "task.json").write_text(json.dumps({**task, "rounds": asked}), encoding="utf-8")

    def recall(self, question: Question, found: Sequence[int], *, ours: bool, stored: int) -> float:
        """Returns which share of the best was found, counting everything by brute force in double precision.

        Args:
            question: What was asked.
            found: Numbers of messages.
            ours: Whether the best are those that our store ranks first, and not just those of the most similar vectors.
            stored: How many messages there were.
        """
        query = self.queries[question.query]
        if ours:
            theirs = [row["user"] == question.wanted["user"] for row in self.rows[:stored]]
            query = sought(query, self.vectors[:stored][theirs].mean(axis=0))
        near = np.einsum("ij,j->i", self.vectors[:stored], query, dtype=np.float64)
        if ours:
            near = self._smoothed(near)
        passing = np.fromiter((_passes(row, question.wanted) for row in self.rows[:stored]), dtype=np.bool_)
        most = min(LIMIT, int(passing.sum()))
        if not most:
            return float(not found)
        least = np.partition(near[passing], -most)[-most] - 1e-5  # single precision may take these for equal
        right = [i for i in set(found) if passing[i] and near[i] >= least]
        return min(len(right), most) / most

    def _smoothed(self, near: NDArray[np.float64]) -> NDArray[np.float64]:
        conversations = np.array([row["conversation"] for row in self.rows[: len(near)]])
        total, weights = near.copy(), np.ones_like(near)
        for distance, weight in enumerate(NEIGHBOUR_WEIGHTS, start=1):
            together = weight * (conversations[distance:] == conversations[:-distance])
            total[distance:] += together * near[:-distance]
            total[:-distance] += together * near[distance:]
            weights[distance:] += together
            weights[:-distance] += together
        return total / weights


def store_task(embedder: Embedder, workload: Workload) -> StoreTask:
    """Makes the task: vectors of what people said, each with a shift of its own, and of what they asked."""
    chance, numbers = random.Random(7), np.random.default_rng(7)  # noqa: S311 (not secrets)
    bulk = workload.peer_users * workload.messages
    count = bulk + workload.rounds * workload.peer_adds
    said = list(dict.fromkeys(texts()))
    meanings = embedder.embed_messages(said)
    shifts = numbers.standard_normal((count, embedder.dimension), dtype=np.float32)
    vectors = meanings[numbers.integers(len(said), size=count)]
    vectors = vectors + _SPREAD * shifts / np.linalg.norm(shifts, axis=1, keepdims=True)
    vectors = _unit(_unit(vectors).astype(np.float16).astype(np.float32))
    rows = [_row(i, workload.messages, bulk) for i in range(count)]
    asked = list(dict.fromkeys(questions()))
    queries = embedder.embed_queries(asked)
    rounds = []
    for _ in range(workload.rounds):
        each = [
            _question(chance, name, len(asked), workload) for _ in range(workload.peer_searches) for name in FILTERS
        ]
        rounds.append(each)
    numbered = iter(range(count * len(FILTERS)))
    rounds = [[Question(next(numbered), q.filter, q.query, q.wanted) for q in each] for each in rounds]
    return StoreTask(vectors, queries, rows, bulk, workload.peer_adds, rounds)


def _row(number: int, messages: int, bulk: int) -> dict[str, Any]:
    user = number // messages if number < bulk else 0
    conversation = f"{number // CONVERSATION}" if number < bulk else "added"
    return {
        "user": f"user{user}",
        "conversation": conversation,
        "role": "assistant" if number % _ASSISTANTS else "user",
        "author": "rare" if number % _RARE == 0 else "often",
        "time": number,
    }


def _question(chance: random.Random, name: str, queries: int, workload: Workload) -> Question:
    user = chance.randrange(workload.peer_users)
    first = user * workload.messages
    wanted: dict[str, Any] = {"user": f"user{user}"}
    if name == "conversation":
        wanted["conversation"] = f"{chance.randrange(first, first + workload.messages) // CONVERSATION}"
    elif name == "role":
        wanted["role"] = "assistant"
    elif name == "author":
        wanted["author"] = "rare"
    elif name == "time":
        wanted["since"] = first + workload.messages - workload.messages // 10
    return Question(0, name, chance.randrange(queries), wanted)


def _passes(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(row["time"] >= value if name == "since" else row[name] == value for name, value in wanted.items())


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
