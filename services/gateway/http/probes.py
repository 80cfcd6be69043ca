"""`/health`, `/health/live` and `/metrics`: for whoever runs the gateway. Only the last one asks who calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.gateway.identity import Role
from services.rpc.errors import PermissionDenied
from services.rpc.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from services.gateway.http.callers import Callers
    from services.gateway.http.metrics import Metrics
    from services.gateway.peers import Peers

_PROBE_SECONDS = 2.0


def probe_routes(peers: Peers, metrics: Metrics, callers: Callers) -> list[BaseRoute]:
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
        """Shows what is counted, to admins: how busy users are is nobody else's business.

        Raises:
            ChatbotError: It is no admin who asks.
        """
        if (await callers.of(request)).role is not Role.ADMIN:
            raise PermissionDenied("Only an admin may read what is counted.")
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return [
        Route("/health", health, methods=["GET"]),
        Route("/health/live", live, methods=["GET"]),
        Route("/metrics", read_metrics, methods=["GET"]),
    ]
