"""A client of the OpenAI-compatible completions API, streaming.

Written on bare sockets: a general HTTP library's work would be counted against the server on a machine of few CPUs.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.engine.client import Reply, RequestFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bench.engine.client import Drawn

_DATA = b"data: "
_DONE = b"[DONE]"
_LINE_LIMIT = 4 * 1024 * 1024


class OpenAiClient:
    """Asks a server on this machine.

    Args:
        port: Where it listens.
        model: The name it serves the model under.
    """

    def __init__(self, port: int, model: str) -> None:
        self._port = port
        self._model = model

    async def reply(
        self,
        prompt: tuple[int, ...],
        max_tokens: int,
        *,
        on_arrival: Callable[[], None] | None = None,
        cache_key: str = "",
        drawn: Drawn | None = None,
    ) -> Reply:
        """As `Client.reply`. The reply never ends before `max_tokens`; the server keeps prefixes under no key."""
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            # What servers add of their own where tokens are drawn is turned off.
            **({} if drawn is None else {**asdict(drawn), "top_k": 0, "min_p": 0.0}),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        arrivals: list[float] = []
        text: list[str] = []
        usage: dict[str, Any] = {}
        sent = time.perf_counter()
        async for event in self._events("/v1/completions", body):
            if "error" in event:
                raise RequestFailed(str(event["error"]))
            usage = event.get("usage") or usage
            new = "".join(choice.get("text") or "" for choice in event.get("choices", ()))
            if new:
                arrivals.append(time.perf_counter())
                text.append(new)
                if on_arrival is not None:
                    on_arrival()
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Reply(
            sent, tuple(arrivals), time.perf_counter(), usage.get("completion_tokens", 0), "".join(text), cached
        )

    async def ready(self) -> bool:
        """Tells whether the server answers and has its model loaded."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return (await reader.readline()).split()[1:2] == [b"200"]
        except OSError:
            return False
        finally:
            writer.close()

    async def close(self) -> None:
        """As `Client.close`: connections end with their replies."""

    async def _events(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        content = json.dumps(body).encode()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_LINE_LIMIT)
            try:
                writer.write(
                    f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
                    + content
                )
                status = (await reader.readline()).split()[1:2]
                chunked = await _is_chunked(reader)
                if status != [b"200"]:
                    raise RequestFailed((await reader.read(2000)).decode(errors="replace"))
                async for line in _lines(_chunks(reader) if chunked else _rest(reader)):
                    if line.startswith(_DATA) and not line.endswith(_DONE):
                        yield json.loads(line.removeprefix(_DATA))
            finally:
                writer.close()
        except (OSError, asyncio.IncompleteReadError) as failure:
            raise RequestFailed(f"the connection broke: {failure}") from None


async def _is_chunked(reader: asyncio.StreamReader) -> bool:
    chunked = False
    while (line := await reader.readline()).strip():
        chunked |= line.lower().startswith(b"transfer-encoding:") and b"chunked" in line.lower()
    return chunked


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _rest(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while part := await reader.read(65536):
        yield part


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    begun = b""
    async for part in parts:
        *whole, begun = (begun + part).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r")
    if begun:
        yield begun.rstrip(b"\r")
