"""A service's life: bind, report health, start, serve, drain, stop.

The port is bound first, with health NOT_SERVING, so that a taken port is told before a model is loaded and a
prober sees the service come up. On SIGTERM or SIGINT the health turns NOT_SERVING, calls under way get
`drain_seconds` to finish, then the service stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.rpc.channel import MAX_MESSAGE_BYTES
from services.rpc.interceptor import OutcomeInterceptor
from services.rpc.log import configure_logging, where
from services.rpc.metrics import MetricsExporter
from services.rpc.reflection import enable_reflection
from services.rpc.settings import CommonSettings, StartupError, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

_log = structlog.get_logger()

SettingsT = TypeVar("SettingsT", bound=CommonSettings)

EXIT_WITH_PARENT_FLAG = "--exit-with-parent"
"""Argument that makes a service stop when its standard input ends, so that it never outlives who started it."""

_NOT_SERVING_NOTICE_SECONDS = 0.2
"""Between turning NOT_SERVING and refusing calls: time for clients that watch the health to look elsewhere."""

_LAST_WORDS_SECONDS = 0.1
"""After the last call has ended: time for its status to leave before connections are closed."""
_FOR_GOOD_SECONDS = 365 * 24 * 3600.0
"""Longer than any drain; without a number the library would not wait at all."""


class Service(Protocol):
    """What `run` keeps alive."""

    @property
    def full_names(self) -> tuple[str, ...]:
        """GRPC service names, for health and reflection: `chatbot.v1.MemoryService`."""

    @property
    def port(self) -> int:
        """Port to listen on; 0: any free one."""

    @property
    def port_variable(self) -> str:
        """Environment variable that sets the port."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers. Called before `start`: until that has returned they answer UNAVAILABLE."""

    async def start(self) -> None:
        """Makes the service ready. Raises StartupError where it cannot be."""

    async def stop(self) -> None:
        """Gives back what `start` took. Called once, also where `start` failed."""


@runtime_checkable
class Losable(Protocol):
    """A service that may stop working by itself, so that its process has to end and be started again."""

    async def lost(self) -> str:
        """Returns, once that has happened, why. Awaited from when `Service.start` has returned."""


@runtime_checkable
class Drainable(Protocol):
    """A service that also takes calls which do not come through the gRPC server."""

    async def drain(self, grace: float) -> None:
        """Takes no new calls and gives those under way `grace` seconds. Called once, also where `start` failed."""


@runtime_checkable
class Intermittent(Protocol):
    """A service that stands on something that may be out of reach for a while."""

    def availability(self) -> AsyncGenerator[bool, None]:
        """Yields whether the service can serve, each time that changes. Read from when `Service.start` has returned."""


@runtime_checkable
class Measured(Protocol):
    """A service that shows Prometheus what it counts."""

    @property
    def metrics_port(self) -> int:
        """Port to show it on; 0: none."""

    @property
    def metrics_port_variable(self) -> str:
        """Environment variable that sets that port."""


class ServiceLost(Exception):
    """A service stopped working by itself. The message says why."""


class Server:
    """One gRPC server with health and reflection, and the service behind it."""

    def __init__(self, service: Service, settings: CommonSettings) -> None:
        self._service = service
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._outcomes = OutcomeInterceptor()
        self._following: asyncio.Task[None] | None = None
        self._exporter: MetricsExporter | None = None
        self._server = grpc.aio.server(
            interceptors=[self._outcomes],
            options=[
                # Without this two servers share a port silently.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Connections end now and then, so that new replicas get their share of the traffic.
                ("grpc.max_connection_age_ms", 30 * 60_000),
                ("grpc.max_connection_age_grace_ms", 30 * 60_000),
            ],
        )
        self.port = service.port
        """Where it listens: `service.port`, or what the system chose where that is 0. Known after `bind`."""

    async def bind(self) -> None:
        """Listens, with health NOT_SERVING, and shows metrics where the service is to.

        Raises:
            StartupError: A port is taken or may not be used.
        """
        await self._set_health(serving=False)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._service.register(self._server)
        enable_reflection((*self._service.full_names, health.SERVICE_NAME), self._server)
        host = self._settings.listen_host
        address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise StartupError(
                f"{address} cannot be listened on: the port is taken or not allowed; "
                f"set {self._service.port_variable} to a free one."
            ) from None
        service = self._service
        if isinstance(service, Measured) and service.metrics_port:
            self._exporter = MetricsExporter(host, service.metrics_port, service.metrics_port_variable)
        await self._server.start()

    async def start(self) -> None:
        """Makes the service ready and turns the health SERVING."""
        await self._service.start()
        await self._set_health(serving=True)
        if isinstance(self._service, Intermittent):
            self._following = asyncio.create_task(self._follow(self._service))
        _log.info("serving", address=f"{self._settings.listen_host}:{self.port}")

    async def stop(self, grace: float) -> None:
        """Drains and stops: calls under way get `grace` seconds."""
        if self._following is not None:
            self._following.cancel()
        await self._set_health(serving=False)
        if grace > 0:
            await asyncio.sleep(min(_NOT_SERVING_NOTICE_SECONDS, grace))
        # How long is kept here: where the library's own time is up in the moment in which another stop has ended the
        # server, it takes the process with it.
        draining = asyncio.create_task(self._server.stop(_FOR_GOOD_SECONDS))
        other_doors = asyncio.create_task(self._service.drain(grace)) if isinstance(self._service, Drainable) else None
        # Whoever watches the health holds a call open for good: the drain waits for the service's calls only.
        idle = asyncio.create_task(self._outcomes.wait_until_idle())
        await asyncio.wait({draining, idle}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if idle.done():
            await asyncio.wait({draining}, timeout=_LAST_WORDS_SECONDS)
        await self._server.stop(None)
        await draining
        idle.cancel()
        if other_doors is not None:
            await other_doors
        await self._service.stop()
        if self._exporter is not None:
            await self._exporter.close()

    async def _follow(self, service: Intermittent) -> None:
        async with contextlib.aclosing(service.availability()) as changes:
            async for available in changes:
                await self._set_health(serving=available)

    async def _set_health(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._service.full_names):
            await self._health.set(name, status)


async def _serve(build: Callable[[], Service], settings: CommonSettings, exit_with_parent: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Where the platform has no signal handlers on the loop (Windows), its own default stops the process.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopping.set)
    if exit_with_parent:
        threading.Thread(target=_watch_parent, args=(loop, stopping), daemon=True, name="parent").start()
    # Built here, not before: the service may open channels, which belong to the running loop.
    service = build()
    server = Server(service, settings)
    starting: asyncio.Task[None] | None = None
    try:
        await server.bind()
        starting = asyncio.create_task(server.start())
        stop_asked = asyncio.create_task(stopping.wait())
        await asyncio.wait({starting, stop_asked}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            keep_what_is_loaded()
            await _stop_or_loss(service, stop_asked)
        _log.info("stopping")
    finally:
        if starting is not None and not starting.done():
            starting.cancel()
        await server.stop(settings.drain_seconds if stopping.is_set() else 0)


def keep_what_is_loaded() -> None:
    """Collects garbage, and has Python never look for any in what is there by now: each time that would take 0.1 s."""
    gc.collect()
    gc.freeze()


async def _stop_or_loss(service: Service, stop_asked: asyncio.Task[bool]) -> None:
    if not isinstance(service, Losable):
        await stop_asked
        return
    loss = asyncio.create_task(service.lost())
    await asyncio.wait({loss, stop_asked}, return_when=asyncio.FIRST_COMPLETED)
    if loss.done():
        raise ServiceLost(loss.result())
    loss.cancel()


def _watch_parent(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    # Unbuffered reads on the descriptor: a thread blocked in sys.stdin would hold its lock at exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    loop.call_soon_threadsafe(stopping.set)


def run(name: str, settings_type: type[SettingsT], build: Callable[[SettingsT], Service]) -> None:
    """Runs a service until it is told to stop, then exits the process.

    Exit status: 0 after a stop that was asked for, 2 where it cannot start, 1 where it stopped by itself; the reason
    is then the last line on standard error, after `error: `.
    """
    try:
        settings = load_settings(settings_type)
        configure_logging(name, settings.log_level, settings.log_format)
        asyncio.run(_serve(lambda: build(settings), settings, EXIT_WITH_PARENT_FLAG in sys.argv[1:]))
    except StartupError as refusal:
        sys.stderr.write(f"error: {refusal}\n")
        sys.exit(2)
    except ServiceLost as loss:
        sys.stderr.write(f"error: {name} stopped: {loss}\n")
        sys.exit(1)
    except Exception as failure:
        sys.stderr.write(f"error: {name} stopped unexpectedly: {where(failure)}\n")
        sys.exit(1)
