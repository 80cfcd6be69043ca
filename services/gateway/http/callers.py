"""Who makes an HTTP request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.gateway.identity import Credentials

if TYPE_CHECKING:
    from starlette.requests import Request

    from services.gateway.identity import Caller, Identity


class Callers:
    """Asks the gateway's one `Identity` who makes a request."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def of(self, request: Request) -> Caller:
        """Returns who makes a request.

        HTTP has no deadlines: it waits until it goes away, which cancels what it waits for.

        Raises:
            ChatbotError: Nobody who may call.
        """
        return await self._identity.identify(Credentials.of_headers(request.headers.raw), _no_bound)


def _no_bound() -> None:
    return None
