"""A line to the gateway that is cut once, when the first words of an answer are on it."""

from __future__ import annotations

import asyncio
import contextlib


class DroppingLine:
    """Passes bytes on, both ways. The first connection is cut when `cut_at` comes back on it, which is lost with it.

    An async context manager.
    """

    def __init__(self, host: str, port: int, cut_at: bytes) -> None:
        self._upstream = (host, port)
        self._cut_at = cut_at
        self.has_cut = False
        self.address = ""

    async def __aenter__(self) -> DroppingLine:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, up_writer))
                both.create_task(self._pass_back(up_reader, writer))
        finally:
            # No end in order: as where a cable is pulled and the other side says so.
            writer.transport.abort()
            up_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self.has_cut and self._cut_at in data:
                    self.has_cut = True
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
