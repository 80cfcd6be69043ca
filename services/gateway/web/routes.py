"""What the page adds to an HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Mount, Route

from services.gateway.web.json_calls import JsonCalls
from services.gateway.web.page import ASSETS_PATH, assets, page

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from services.gateway.chat_calls import ChatCalls
    from services.gateway.http import Callers


def web_routes(calls: ChatCalls, callers: Callers) -> list[BaseRoute]:
    """Returns the page at `/`, its files, and the calls that it makes.

    Args:
        calls: What `ChatService` does.
        callers: Tells who makes a request.
    """
    return [
        Route("/", page),
        Mount(ASSETS_PATH, assets()),
        Route("/api/v1/ChatService/{method}", JsonCalls(calls, callers)),
    ]
