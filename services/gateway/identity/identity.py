"""Finding out who calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.gateway.identity.caller import Caller
    from services.gateway.identity.credentials import Credentials


class Identity(Protocol):
    """Finds out who calls."""

    async def identify(self, credentials: Credentials, time_left: Callable[[], float | None]) -> Caller:
        """Returns who makes a call.

        Args:
            credentials: What the call says of it.
            time_left: See `Caller.time_left`.

        Raises:
            ChatbotError: Nobody who may call: Unauthenticated where it is not proven who calls, PermissionDenied
                where that is clear and not enough.
        """
