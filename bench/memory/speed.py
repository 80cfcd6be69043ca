"""How fast the memory service appends and searches, through its door, in one process with its callers."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from bench.memory.dialogues import dialogues
from bench.result import Observation
from chatbot.v1 import chat_message_pb2, memory_service_pb2
from services.memory.embedder.embedder import Embedder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from numpy.typing import NDArray

    from chatbot.v1.memory_service_pb2_grpc import MemoryServiceAsyncStub

_APPENDED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Workload:
    """Sizes of what is measured."""

    writers: int
    appends_a_writer: int
    messages: int
    """Of the user who is searched."""
    callers: int
    searches: int
    cold_messages: int
    """Of each user who is searched for the first time."""
    cold_users: int

    def described(self) -> dict[str, object]:
        """Returns each size by its name."""
        return {**asdict(self), "message vectors": "drawn at random; queries are embedded"}


FULL = Workload(50, 40, 10_000, 16, 800, 5_000, 5)
QUICK = Workload(5, 2, 100, 4, 8, 50, 1)


class ScatteringEmbedder(Embedder):
    """Embeds queries with another embedder, and gives messages directions at random: as fast to search, at once there.

    Args:
        embedder: For queries.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.id = "scattering"
        self.dimension = embedder.dimension
        self.reads_russian = embedder.reads_russian
        self._embedder = embedder
        self._chance = np.random.default_rng(7)

    @override
    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = self._chance.standard_normal((len(texts), self.dimension), dtype=np.float32)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    @override
    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embedder.embed_queries(texts)


async def measure(
    stub: MemoryServiceAsyncStub, workload: Workload, tell: Callable[[str], None]
) -> AsyncIterator[Observation]:
    """Yields what was measured."""
    talks = [talk for talk in dialogues("report") if talk.language == "en"]
    texts = [turn.text for talk in talks for turn in talk.turns]
    questions = [question.text for talk in talks for question in talk.questions]

    tell("appending")
    for one in await _appends(stub, workload, texts):
        yield one
    tell("storing for searches")
    user_id = await _user(stub, workload.messages, texts)
    await _search(stub, user_id, questions[0])
    tell("searching, one caller")
    alone = await _searches(stub, user_id, questions, callers=1, searches=workload.searches // 8)
    for one in _quantiles("search, 1 caller", alone):
        yield one
    tell("searching, several callers")
    together = await _searches(
        stub, user_id, questions, callers=workload.callers, searches=workload.searches // workload.callers
    )
    for one in _quantiles(f"search, {workload.callers} callers", together):
        yield one
    tell("searching cold users")
    cold, warm = [], []
    for _ in range(workload.cold_users):
        # The user's first search waits for the embedding of the messages too; the second one is another process'.
        cold_user = await _user(stub, workload.cold_messages, texts)
        await _search(stub, cold_user, questions[0])
        warm.append(await _timed(_search(stub, cold_user, questions[1])))
        await _drop_index(stub, cold_user)
        cold.append(await _timed(_search(stub, cold_user, questions[2])))
    yield Observation("search, cold user", "more_than_warm", "ms", float(np.median(cold) - np.median(warm)))


async def _appends(stub: MemoryServiceAsyncStub, workload: Workload, texts: Sequence[str]) -> list[Observation]:
    async def write(number: int) -> list[float]:
        user_id = f"writer-{number}-{uuid.uuid4()}"
        conversation = await _conversation(stub, user_id)
        chance = random.Random(number)  # noqa: S311 (not a secret)
        return [
            await _timed(_append(stub, user_id, conversation, [chance.choice(texts)]))
            for _ in range(workload.appends_a_writer)
        ]

    began = time.perf_counter()
    times = [t for each in await asyncio.gather(*map(write, range(workload.writers))) for t in each]
    rate = len(times) / (time.perf_counter() - began)
    name = f"append, {workload.writers} writers"
    return [*_quantiles(name, times), Observation(name, "messages_per_second", "messages/s", rate)]


async def _searches(
    stub: MemoryServiceAsyncStub, user_id: str, questions: Sequence[str], *, callers: int, searches: int
) -> list[float]:
    async def call(number: int) -> list[float]:
        asked = [questions[(number * searches + i) % len(questions)] for i in range(searches)]
        return [await _timed(_search(stub, user_id, question)) for question in asked]

    return [t for each in await asyncio.gather(*map(call, range(callers))) for t in each]


async def _user(stub: MemoryServiceAsyncStub, messages: int, texts: Sequence[str]) -> str:
    user_id = str(uuid.uuid4())
    conversation = await _conversation(stub, user_id)
    for start in range(0, messages, _APPENDED_AT_ONCE):
        several = [texts[i % len(texts)] for i in range(start, min(start + _APPENDED_AT_ONCE, messages))]
        await _append(stub, user_id, conversation, several)
    return user_id


async def _drop_index(stub: MemoryServiceAsyncStub, user_id: str) -> None:
    """Makes the next search load the index anew, as after any deletion of the user's."""
    gone = await _conversation(stub, user_id)
    await stub.DeleteConversation(
        memory_service_pb2.DeleteConversationRequest(user_id=user_id, conversation=gone, request_id=str(uuid.uuid4()))
    )


async def _conversation(stub: MemoryServiceAsyncStub, user_id: str) -> str:
    request = memory_service_pb2.CreateConversationRequest(user_id=user_id, request_id=str(uuid.uuid4()))
    name: str = (await stub.CreateConversation(request)).conversation.name
    return name


async def _append(stub: MemoryServiceAsyncStub, user_id: str, conversation: str, texts: Sequence[str]) -> None:
    await stub.AppendMessages(
        memory_service_pb2.AppendMessagesRequest(
            user_id=user_id,
            conversation=conversation,
            messages=[chat_message_pb2.ChatMessage(role=chat_message_pb2.ROLE_USER, content=text) for text in texts],
            request_id=str(uuid.uuid4()),
        )
    )


async def _search(stub: MemoryServiceAsyncStub, user_id: str, question: str) -> None:
    await stub.SearchMessages(memory_service_pb2.SearchMessagesRequest(user_id=user_id, query=question))


async def _timed(call: Awaitable[None]) -> float:
    """Returns how many milliseconds a call took."""
    began = time.perf_counter()
    await call
    return 1000 * (time.perf_counter() - began)


def _quantiles(name: str, times: Sequence[float]) -> list[Observation]:
    return [Observation(name, f"p{percent}", "ms", float(np.percentile(times, percent))) for percent in (50, 95, 99)]
