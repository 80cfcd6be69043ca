"""The application: one front, and the routes of every room behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from services.gateway.http.client_gone import ClientGone, answer_gone
from services.gateway.http.failures import answer_error, answer_http_exception
from services.gateway.http.front import Front
from services.gateway.http.outcomes import Outcomes
from services.rpc.errors import ChatbotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from services.gateway.http.metrics import Metrics

_EXPOSED_HEADERS = ("retry-after",)


@dataclass(frozen=True, slots=True)
class AppParts:
    """What an application is made of."""

    routes: Sequence[BaseRoute]
    """Of all rooms; the first that fits a request answers it. An endpoint raises `ChatbotError` for what goes wrong."""
    hosts: frozenset[str]
    """Names, in lower case, that requests may be addressed to, beside this machine's own and plain addresses."""
    origins: tuple[str, ...]
    """Origins, such as `https://chat.example`, whose pages may call from a browser, beside this server's own."""
    metrics: Metrics


def build_app(parts: AppParts) -> Starlette:
    """Puts all routes behind the front: log line, host and origin check, CORS, errors as answers."""
    return Starlette(
        routes=list(parts.routes),
        middleware=[
            Middleware(Outcomes, metrics=parts.metrics),
            Middleware(Front, hosts=parts.hosts, origins=frozenset(parts.origins)),
            Middleware(
                CORSMiddleware,
                allow_origins=parts.origins,
                allow_methods=("GET", "POST", "PATCH", "DELETE"),
                allow_headers=("*",),
                expose_headers=_EXPOSED_HEADERS,
            ),
        ],
        exception_handlers={
            ChatbotError: answer_error,
            HTTPException: answer_http_exception,
            ClientGone: answer_gone,
        },
    )
