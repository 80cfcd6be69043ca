"""What the HTTP door counts, for Prometheus."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """The counters of one server. None is labelled by anything that a caller writes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "chatbot_http_requests", "Requests answered.", ("route", "outcome"), registry=self._registry
        )
        self._seconds = Histogram(
            "chatbot_http_request_seconds",
            "From a request's arrival to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._under_way = Gauge("chatbot_http_requests_under_way", "Requests being answered.", registry=self._registry)
        self._tokens = Counter(
            "chatbot_http_tokens", "Tokens of prompts, of those the cached ones, and of replies.", ("kind",),
            registry=self._registry,
        )  # fmt: skip

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Counts a request as being answered for as long as it lasts."""
        with self._under_way.track_inprogress():
            yield

    def ended(self, route: str, outcome: str, seconds: float) -> None:
        """Counts a request that was answered."""
        self._requests.labels(route, outcome).inc()
        self._seconds.labels(route).observe(seconds)

    def used(self, prompt: int, cached: int, completion: int) -> None:
        """Counts the tokens of a reply."""
        for kind, tokens in (("prompt", prompt), ("cached", cached), ("completion", completion)):
            self._tokens.labels(kind).inc(tokens)

    def text(self) -> bytes:
        """Returns all of them in Prometheus's text format."""
        return generate_latest(self._registry)
