"""`/health`, `/health/live` and `/metrics`: for whoever runs the gateway. None of them asks who calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from services.gateway.http.metrics import Metrics
    from services.gateway.peers import Peers

_PROBE_SECONDS = 2.0


def probe_routes(peers: Peers, metrics: Metrics) -> list[BaseRoute]:
    """Returns the routes of the probes."""

    async def health(request: Request) -> Response:
        """Tells whether a chat would be answered now: 503 where a service that it needs does not serve."""
        del request
        # Raises what the service answers: that the model is being loaded, or that nobody is there.
        model = await peers.inference.model(_PROBE_SECONDS)
        await peers.check_memory(_PROBE_SECONDS)
        return JSONResponse({"status": "ok", "model": model.id})

    async def live(request: Request) -> Response:
        """Tells that this process answers; a gateway is not to be started anew because another service is down."""
        del request
        return JSONResponse({"status": "ok"})

    async def read_metrics(request: Request) -> Response:
        del request
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/health", health, methods=["GET"]),
        Route("/health/live", live, methods=["GET"]),
        Route("/metrics", read_metrics, methods=["GET"]),
    ]
