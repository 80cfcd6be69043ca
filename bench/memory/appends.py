"""How fast messages are acknowledged, and how soon others find them. The service embeds them meanwhile, as it does."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import TYPE_CHECKING

from bench.memory.client import Client, quantiles, serving
from bench.memory.workload import Workload, texts
from bench.result import Observation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

_MARKED_EVERY_SECONDS = 0.25


async def appends(folder: Path, workload: Workload, tell: Callable[[str], None]) -> AsyncIterator[Observation]:
    """Yields what each round saw, each on a database of its own."""
    said = texts()
    for number in range(workload.rounds):
        tell(f"appends, round {number + 1} of {workload.rounds}")
        for offered in workload.offered:
            async with serving(folder / f"paced-{number}-{offered}") as client:
                for one in await _paced(client, workload, offered, said):
                    yield one
        async with serving(folder / f"flat-out-{number}") as client:
            for one in await _flat_out(client, workload, said):
                yield one
        async with serving(folder / f"batched-{number}") as client:
            yield await _batched(client, workload, said)


async def _paced(client: Client, workload: Workload, offered: int, said: Sequence[str]) -> list[Observation]:
    """Writers who write at their own pace. A time counts from when a message was due, whatever held it up."""
    late: list[float] = []
    pause = workload.writers / offered

    async def write(number: int) -> None:
        user_id, conversation = who[number]
        chance = random.Random(number)  # noqa: S311 (not a secret)
        due = began + pause * chance.random()
        while due < began + workload.seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await client.append(user_id, conversation, [chance.choice(said)])
            late.append(1000 * (time.perf_counter() - due))
            due += pause

    who = [await _writer(client, number) for number in range(workload.writers)]
    began = time.perf_counter()
    found = asyncio.create_task(_found_by_another(client, began + workload.seconds))
    await asyncio.gather(*map(write, range(workload.writers)))
    rate = len(late) / (time.perf_counter() - began)
    name = f"append, {workload.writers} writers, {offered:,} messages/s offered"
    return [
        *quantiles(name, late),
        Observation(name, "rate", "messages/s", rate),
        *quantiles(f"found by another caller, {offered:,} messages/s offered", await found, (50, 100)),
    ]


async def _found_by_another(client: Client, until: float) -> list[float]:
    """Returns milliseconds from an acknowledgement until a search by somebody else has brought the message."""
    user_id, conversation = await _writer(client, 0)
    times: list[float] = []
    while not times or time.perf_counter() < until:
        word = f"marked{uuid.uuid4().hex}"
        await client.append(user_id, conversation, [f"This one is {word}."])
        began = time.perf_counter()
        while not any(word in text for text in await client.search(user_id, word)):
            pass
        times.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(_MARKED_EVERY_SECONDS)
    return times


async def _flat_out(client: Client, workload: Workload, said: Sequence[str]) -> list[Observation]:
    """Writers of whom each sends the next message as soon as the last one is acknowledged."""

    async def write(number: int) -> list[float]:
        user_id, conversation = who[number]
        times: list[float] = []
        while time.perf_counter() < until:
            sent = time.perf_counter()
            await client.append(user_id, conversation, [said[(number + len(times)) % len(said)]])
            times.append(1000 * (time.perf_counter() - sent))
        return times

    who = [await _writer(client, number) for number in range(workload.writers)]
    began = time.perf_counter()
    until = began + workload.seconds
    times = [t for each in await asyncio.gather(*map(write, range(workload.writers))) for t in each]
    rate = len(times) / (time.perf_counter() - began)
    name = f"append, {workload.writers} writers flat out"
    return [*quantiles(name, times), Observation(name, "rate", "messages/s", rate)]


async def _batched(client: Client, workload: Workload, said: Sequence[str]) -> Observation:
    batch = [said[i % len(said)] for i in range(workload.batch)]

    async def write(number: int) -> int:
        user_id, conversation = who[number]
        count = 0
        while time.perf_counter() < until:
            await client.append(user_id, conversation, batch)
            count += workload.batch
        return count

    who = [await _writer(client, number) for number in range(workload.batch_writers)]
    began = time.perf_counter()
    until = began + workload.seconds
    count = sum(await asyncio.gather(*map(write, range(workload.batch_writers))))
    rate = count / (time.perf_counter() - began)
    name = f"append, {workload.batch_writers} writers, {workload.batch} messages a call"
    return Observation(name, "rate", "messages/s", rate)


async def _writer(client: Client, number: int) -> tuple[str, str]:
    user_id = f"writer-{number}-{uuid.uuid4()}"
    return user_id, await client.conversation(user_id)
