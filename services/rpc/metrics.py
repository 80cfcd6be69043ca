"""What Prometheus is told: one registry a process, and what every service counts, its calls.

Labels are names out of the code, such as those of methods and outcomes; never anything that a caller sent.
"""

from __future__ import annotations

import asyncio

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    start_http_server,
)

from services.rpc.settings import StartupError

REGISTRY = CollectorRegistry(auto_describe=True)
"""All that this process counts. What a service counts of its own is registered here, too."""

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Media type of what `render` returns."""

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of histograms of durations: from a cached look-up to a reply of thousands of tokens."""

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_ENDED = Counter("chatbot_calls", "Calls that have ended.", ("service", "method", "outcome"), registry=REGISTRY)
_SECONDS = Histogram(
    "chatbot_call_seconds",
    "How long calls took, the whole of a stream.",
    ("service", "method"),
    buckets=SECONDS_BUCKETS,
    registry=REGISTRY,
)
_UNDER_WAY = Gauge("chatbot_calls_under_way", "Calls under way.", ("service", "method"), registry=REGISTRY)


class MethodMeasures:
    """Counts the calls of one method.

    Args:
        path: As gRPC names it: `/chatbot.v1.MemoryService/SearchMessages`.
    """

    def __init__(self, path: str) -> None:
        service, _, method = path.removeprefix("/").rpartition("/")
        self._names = service, method
        # Found once: to ask the library for a label takes longer than to count.
        self._under_way = _UNDER_WAY.labels(service, method)
        self._seconds = _SECONDS.labels(service, method)
        self._ended: dict[str, Counter] = {}

    def began(self) -> None:
        """Counts a call as under way."""
        self._under_way.inc()

    def ended(self, outcome: str, seconds: float) -> None:
        """Counts a call that had begun as ended: with `OK`, `CANCELLED`, or the reason of an error."""
        self._under_way.dec()
        self._seconds.observe(seconds)
        if outcome not in self._ended:
            self._ended[outcome] = _ENDED.labels(*self._names, outcome)
        self._ended[outcome].inc()


def render() -> bytes:
    """Returns all that this process has counted, in Prometheus' text format."""
    return generate_latest(REGISTRY)


class MetricsExporter:
    """Answers every GET on a port of its own with what `render` returns, on threads of its own.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        port_variable: Environment variable that sets the port.

    Raises:
        StartupError: The port is taken or may not be used.
    """

    def __init__(self, host: str, port: int, port_variable: str) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, REGISTRY)
        except OSError:
            raise StartupError(
                f"{host}:{port} cannot be listened on for metrics: the port is taken or not allowed; "
                f"set {port_variable} to a free one, or to 0 for none."
            ) from None

    async def close(self) -> None:
        """Stops answering."""
        await asyncio.to_thread(self._server.shutdown)
        self._thread.join()
        self._server.server_close()
