"""Where each part of the API answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.gateway.openai_api.models import model_routes

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from services.gateway.chat_calls import ChatCalls
    from services.gateway.http.callers import Callers
    from services.gateway.http.metrics import Metrics
    from services.gateway.peers import Peers


def openai_routes(peers: Peers, calls: ChatCalls, callers: Callers, metrics: Metrics) -> list[BaseRoute]:
    """Returns the routes of the whole API."""
    del calls, metrics
    return model_routes(peers, callers)
