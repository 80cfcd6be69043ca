"""The HTTP server's life, in the process and on the event loop of the gRPC server: bind, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from typing import TYPE_CHECKING

import structlog
import uvicorn

from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import ASGIApp

_log = structlog.get_logger()

_KEEP_ALIVE_SECONDS = 65
"""Longer than clients and proxies keep idle connections, so that it is they who close them: a request sent on one that
the server is closing is lost."""

_BACKLOG = 2048


class _Uvicorn(uvicorn.Server):
    """Leaves signals to whoever runs the process, and tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """Serves an application. `stop` may be called whether or not it was started."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._host = host
        self.port = port
        """Where it listens: as given, or what the system chose where that is 0. Known after `start`."""
        self._config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        self._server = _Uvicorn(self._config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """`http://host:port`."""
        return f"http://{_bracketed(self._host)}:{self.port}"

    async def start(self) -> None:
        """Listens and serves.

        Raises:
            StartupError: The port is taken or may not be used.
        """
        listener = self._listener()
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve([listener]))
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            listening.cancel()
            self._serving.result()
        _log.info("serving", address=self.address)

    async def stop(self, grace: float) -> None:
        """Takes no new requests, gives those under way `grace` seconds, then ends them."""
        if self._serving is None:
            return
        # In whole seconds; with none at all it would report a fault even where there is nothing to end.
        self._config.timeout_graceful_shutdown = max(1, math.ceil(grace))
        self._server.should_exit = True
        await self._serving
        # Those that were ended have still to store what they had.
        await asyncio.gather(*self._server.server_state.tasks, return_exceptions=True)

    def _listener(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self.port), family=family, backlog=_BACKLOG)
        except OSError as failure:
            raise StartupError(
                f"{_bracketed(self._host)}:{self.port} cannot be listened on ({failure.strerror}): "
                f"set {variable_name('gateway_http_port')} to a free port."
            ) from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
