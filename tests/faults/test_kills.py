"""A process that writes, and a database server, are killed at random moments: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from services.memory.conversation import ConversationDraft
from services.memory.message import Append, MessageDraft, MessageQuery, Role
from services.memory.store import WriteRequest, open_postgres_store
from services.rpc.errors import Overloaded, Unavailable

ROUNDS = Path(__file__).with_name("kill_rounds.py")
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


def rounds(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(ROUNDS), "--seed", str(SEED), *arguments],
        check=False,
        env={**os.environ, "PYTHONPATH": f".{os.pathsep}gen"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_two_hundred_kills_lose_double_or_reorder_nothing_on_sqlite():
    result = rounds("--rounds", "200")
    assert result["faults"] == []
    assert result["acknowledged_messages"] > 200
    # Otherwise no kill had met a write under way.
    assert result["unacknowledged_batches_found_whole"] > 0


def test_kills_of_a_replica_lose_double_or_reorder_nothing_on_postgresql(postgres_url):
    result = rounds("--rounds", "30", "--postgres", postgres_url)
    assert result["faults"] == []
    assert result["acknowledged_messages"] > 30


def kill_a_backend(cluster) -> None:
    """Kills one of the server's processes, at which it ends all and starts anew: it may be at that still."""
    for _ in range(100):
        with contextlib.suppress(psycopg.OperationalError, ProcessLookupError):
            backends = cluster.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'chatbot-memory'")
            if backends:
                os.kill(backends[SEED % len(backends)][0], signal.SIGKILL)
                return
        time.sleep(0.1)
    raise AssertionError("the server did not come up again")


@pytest.mark.parametrize("how", ["immediate shutdown", "postmaster killed", "backend killed"])
async def test_what_was_acknowledged_is_there_after_the_server_was_killed(new_cluster, how):
    cluster = new_cluster()
    store = await open_postgres_store(SecretStr(cluster.url()), 8, 30)
    chance = random.Random(SEED)  # noqa: S311 (no secret)
    talks = [
        await store.create_conversation(ConversationDraft("", ""), WriteRequest(f"u{w}", str(uuid.uuid4()), b""))
        for w in range(6)
    ]
    acknowledged: list[list[int]] = [[] for _ in talks]
    ending = False

    async def write(writer: int) -> None:
        number = 0
        while not ending:
            request = WriteRequest(f"u{writer}", str(uuid.uuid5(uuid.NAMESPACE_OID, f"{writer} {number}")), b"")
            drafts = tuple(MessageDraft(Role.USER, f"{number} {part}") for part in "abc")
            try:
                stored = await store.append_messages(Append(talks[writer].id, drafts), request)
            except (Unavailable, Overloaded):
                await asyncio.sleep(0.02)
                continue
            acknowledged[writer].append(stored.messages[0].sequence)
            number += 1

    writers = [asyncio.create_task(write(w)) for w in range(6)]
    for _ in range(3):
        goal = sum(map(len, acknowledged)) + chance.randint(1, 200)
        async with asyncio.timeout(60):
            while sum(map(len, acknowledged)) < goal:
                await asyncio.sleep(0.001)
        if how == "backend killed":
            await asyncio.to_thread(kill_a_backend, cluster)
        else:
            kill = signal.SIGQUIT if how == "immediate shutdown" else signal.SIGKILL
            await asyncio.to_thread(cluster.stop, kill)
            await asyncio.to_thread(restart, cluster)
    goal = sum(map(len, acknowledged)) + 20
    async with asyncio.timeout(60):
        while sum(map(len, acknowledged)) < goal:
            await asyncio.sleep(0.001)
    ending = True
    await asyncio.gather(*writers)
    for writer, talk in enumerate(talks):
        stored, after = [], None
        while True:
            page = await store.list_messages(f"u{writer}", MessageQuery(talk.id, 1000, after=after))
            stored += page.messages
            if not page.more:
                break
            after = stored[-1].sequence
        count = len(acknowledged[writer])
        assert [m.content for m in stored] == [f"{n} {part}" for n in range(count) for part in "abc"], SEED
        assert acknowledged[writer] == [1 + 3 * n for n in range(count)], SEED
    await store.close()


def restart(cluster) -> None:
    """Starts a server whose first process was killed: its others may still be ending, and hold its memory."""
    for _ in range(100):
        try:
            cluster.start()
        except (AssertionError, psycopg.OperationalError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server did not come up again")
