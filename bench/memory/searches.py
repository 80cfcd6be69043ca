"""How fast searches are: of a user with many messages, of one whose index is not in memory, and of one of very many."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import TYPE_CHECKING

import numpy as np

from bench.memory.client import Client, quantiles, serving, timed
from bench.memory.workload import Workload, questions, texts
from bench.result import Observation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

_APPENDED_AT_ONCE = 500


async def searches(folder: Path, workload: Workload, tell: Callable[[str], None]) -> AsyncIterator[Observation]:
    """Yields what each round saw of users with many messages."""
    data = folder / "searched"
    async with serving(data, messages="random") as client:
        tell(f"storing {workload.messages:,} messages, and {workload.cold_messages:,} for each cold user")
        user_id = await _user(client, workload.messages)
        cold = [await _user(client, workload.cold_messages) for _ in range(workload.cold_users)]
    size = f"{workload.messages:,} messages a user"
    async with serving(data, messages="random") as client:
        for one in await _cold(client, cold, workload):
            yield one
        for number in range(workload.rounds):
            tell(f"searches with the query's embedding, round {number + 1} of {workload.rounds}")
            for callers in (1, workload.callers):
                times = await search_all(client, [user_id], callers, workload.searches)
                for one in quantiles(f"search, {size}, {_callers(callers)}", times):
                    yield one
    async with serving(data, messages="random", queries="random") as client:
        await client.search(user_id, "first")
        for number in range(workload.rounds):
            tell(f"searches without it, round {number + 1} of {workload.rounds}")
            for callers in (1, workload.callers):
                times = await search_all(client, [user_id], callers, workload.searches)
                for one in quantiles(f"search, {size}, {_callers(callers)}, after embedding", times):
                    yield one


async def search_all(client: Client, user_ids: Sequence[str], callers: int, count: int) -> list[float]:
    """Searches for so many questions by so many callers at once, and returns how many milliseconds each took.

    Users are chosen at random, other ones each time.
    """
    asked = questions()
    chance = random.Random(uuid.uuid4().int)  # noqa: S311 (not a secret)
    wanted = [(chance.choice(user_ids), chance.choice(asked)) for _ in range(count)]

    async def call(number: int) -> list[float]:
        return [await timed(client.search(*one)) for one in wanted[number::callers]]

    return [t for each in await asyncio.gather(*map(call, range(callers))) for t in each]


def _callers(count: int) -> str:
    return "1 caller" if count == 1 else f"{count} callers"


async def _cold(client: Client, user_ids: Sequence[str], workload: Workload) -> list[Observation]:
    """Searches each of the users for the first time since the service began, then again."""
    asked = questions()
    name = f"search, cold user of {workload.cold_messages:,} messages"
    await client.search("nobody", asked[0])
    seen = []
    for number, user_id in enumerate(user_ids):
        first = await timed(client.search(user_id, asked[number]))
        again = float(np.median([await timed(client.search(user_id, asked[number])) for _ in range(5)]))
        seen += [Observation(name, "first", "ms", first), Observation(name, "more_than_warm", "ms", first - again)]
    return seen


async def _user(client: Client, messages: int) -> str:
    user_id = str(uuid.uuid4())
    conversation = await client.conversation(user_id)
    said = texts()
    for start in range(0, messages, _APPENDED_AT_ONCE):
        several = [said[i % len(said)] for i in range(start, min(start + _APPENDED_AT_ONCE, messages))]
        await client.append(user_id, conversation, several)
    await client.search(user_id, "settle")
    return user_id
