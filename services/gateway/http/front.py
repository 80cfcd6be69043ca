"""The check that every request passes first: is it meant for this server, and may the page that sends it do so?

A page of any site may make its reader's browser send requests to a server on loopback. Two things stop it:

- **Host.** A site whose name is made to resolve to this machine (DNS rebinding) counts as this server's own page to the
  browser; but the request then still carries the site's name. Plain addresses are no names, so they cannot be
  re-bound, and `localhost` is resolved by the browser itself (RFC 6761); other names have to be allowed.
- **Origin.** A request of another site's page carries that page's origin. It is refused unless that is allowed, also
  where CORS would let it pass and only keep the answer from the page: what it does would be done by then.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from services.gateway.http.failures import error_response, note_outcome
from services.rpc.errors import HostNotAllowed, OriginNotAllowed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from services.rpc.errors import ChatbotError


class Front:
    """Refuses requests that are not meant for this server, or come from a page that may not send them.

    Args:
        app: What answers the others.
        hosts: See `AppParts.hosts`.
        origins: See `AppParts.origins`.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] == "http":
            refusal = self._refusal(Headers(scope=scope))
            if refusal is not None:
                note_outcome(scope, refusal.reason)
                await error_response(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> ChatbotError | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return HostNotAllowed(
                "The request is addressed to a name that this server does not go by; whoever runs it can allow it with "
                "CHATBOT_GATEWAY_HTTP_HOSTS."
            )
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return None
        if urlsplit(origin).netloc.lower() == hosts[0].lower():
            return None
        return OriginNotAllowed(
            "Pages of this origin may not call this server; whoever runs it can allow it with "
            "CHATBOT_GATEWAY_HTTP_ORIGINS."
        )

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        name = name.rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
