"""An HTTP server that says what a test has it say, however wrong that is."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field

PAUSE = "PAUSE"
"""Among the events of a stream: what follows is sent once `go_on` is set."""


@dataclass
class Answer:
    """What the scripted server says to a call."""

    status: int = 200
    body: bytes = b"{}"
    rest: bytes | None = None
    """What follows the body, or just its end, once the test lets it."""
    headers: dict[str, str] = field(default_factory=dict)
    breaks_off: bool = False
    """Whether the connection is reset where the body ends."""
    waits: bool = False
    """Whether the connection is held open where the body ends, until the client closes it."""


class ScriptedServer:
    """An HTTP server that answers each path as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.left = asyncio.Event()
        """Set when a client has closed a connection that was held open."""
        self.go_on = asyncio.Event()
        """Set by a test that has read what comes before a pause."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self.models("tiny")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def models(self, *names: str, **more: object) -> None:
        entries = [{"id": name, "max_model_len": 100, **more} for name in names]
        self.says("/v1/models", json.dumps({"object": "list", "data": entries}))

    def says(self, path: str, body: str, status: int = 200, **headers: str) -> None:
        self.answers[path] = Answer(status, body.encode(), headers={n.replace("_", "-"): v for n, v in headers.items()})

    def streams(self, *events: object, done: bool = True, breaks_off: bool = False, waits: bool = False) -> None:
        """Answers chats with events; a string is sent as it is."""
        every = [*events, *(["[DONE]"] if done else [])]
        cut = every.index(PAUSE) if PAUSE in every else len(every)
        rest = _stream(every[cut + 1 :]) if PAUSE in every else None
        headers = {"content-type": "text/event-stream"}
        self.answers["/v1/chat/completions"] = Answer(200, _stream(every[:cut]), rest, headers, breaks_off, waits)

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split()[1]
        self.asked.append((path, headers, json.loads(body or b"{}")))
        answer = self.answers.get(path, Answer(404))
        # Without a length a body ends with its connection; with one that is too long it is broken off.
        size = len(answer.body) + len(answer.rest or b"")
        length = {"content-length": str(size + 1)} if answer.breaks_off else {}
        sent = {"content-type": "application/json", "connection": "close", **length, **answer.headers}
        head = f"HTTP/1.1 {answer.status} Said\r\n" + "".join(f"{n}: {v}\r\n" for n, v in sent.items())
        writer.write(head.encode() + b"\r\n" + answer.body)
        await writer.drain()
        if answer.rest is not None:
            await self.go_on.wait()
            writer.write(answer.rest)
            await writer.drain()
        if answer.waits:
            await reader.read()
            self.left.set()


def _stream(events: list[object]) -> bytes:
    lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {line}\n\n" for line in lines).encode()
