"""Where no keys are: who calls is what is said, or nobody is asked."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from services.gateway.identity.caller import LOCAL_USER, Caller, Role
from services.rpc.errors import PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.gateway.identity.credentials import Credentials


class UserHeader(Enum):
    """What becomes of the user that a call names without showing a key."""

    TAKEN = "taken"
    """It is that user who calls; without it, the local user."""
    NEEDED = "needed"
    """Something in front has checked who calls and names them in every call."""
    REFUSED = "refused"
    """All who call are the local user."""


class OpenDoor:
    """Lets in whoever is there. A key or token that a call shows is not looked at."""

    def __init__(self, header: UserHeader) -> None:
        self._header = header

    async def identify(self, credentials: Credentials, time_left: Callable[[], float | None]) -> Caller:
        """See `Identity`."""
        if credentials.user_id is None:
            if self._header is UserHeader.NEEDED:
                raise Unauthenticated(
                    "Whatever checks who calls this gateway named no user (x-user-id-bin, X-User-Id)."
                )
            # Whoever runs the machine is here alone.
            return Caller(LOCAL_USER, time_left, Role.ADMIN)
        if self._header is UserHeader.REFUSED:
            raise PermissionDenied("This gateway has one local user; it takes no name (x-user-id-bin, X-User-Id).")
        return Caller(credentials.user_id, time_left)
