"""What the page adds to an HTTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Mount, Route

from services.gateway.web.json_calls import JsonCalls
from services.gateway.web.page import ASSETS_PATH, assets, page

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from services.gateway.chat_calls import ChatCalls
    from services.gateway.web.json_calls import FindCaller


def routes(calls: ChatCalls, find_caller: FindCaller) -> list[BaseRoute]:
    """Returns the page at `/`, its files, and the calls that it makes.

    Args:
        calls: What `ChatService` does.
        find_caller: Finds out who makes an HTTP request.
    """
    return [
        Route("/", page),
        Mount(ASSETS_PATH, assets()),
        Route("/api/v1/ChatService/{method}", JsonCalls(calls, find_caller)),
    ]
