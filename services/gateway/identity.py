"""Who calls, and how long it waits.

A caller names itself in the metadata `x-user-id-bin` (UTF-8) of a gRPC call; without it, it is the one local user. The
name is trusted: the gateway listens on loopback, or behind something that has checked who calls and sets the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.rpc.errors import invalid_field
from services.rpc.request_rules import MAX_USER_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

USER_ID_KEY = "x-user-id-bin"
LOCAL_USER = "local"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who waits for an answer."""

    user_id: str
    time_left: Callable[[], float | None]
    """Returns the seconds that the next call to a service may take, or None; raises DeadlineExceeded where none are
    left."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call says of who makes it."""

    user_id: str | None
    """The user it says it is made for; None: it does not say."""

    @classmethod
    def of_metadata(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Credentials:
        """Returns what a gRPC call's metadata says.

        Raises:
            InvalidArgument: It is said twice, or no text.
        """
        values = [value for key, value in metadata if key == USER_ID_KEY]
        if not values:
            return cls(user_id=None)
        if len(values) > 1:
            raise invalid_field(f"metadata {USER_ID_KEY}", "must be given once")
        value = values[0]
        try:
            return cls(user_id=value.decode() if isinstance(value, bytes) else value)
        except UnicodeDecodeError:
            raise invalid_field(f"metadata {USER_ID_KEY}", "must be valid UTF-8") from None


class Identity(Protocol):
    """Finds out who calls."""

    async def identify(self, credentials: Credentials, time_left: Callable[[], float | None]) -> Caller:
        """Returns who makes a call.

        Args:
            credentials: What the call says of it.
            time_left: See `Caller.time_left`.

        Raises:
            ChatbotError: Nobody who may call.
        """


class TrustedIdentity:
    """Takes the caller's word for it."""

    async def identify(self, credentials: Credentials, time_left: Callable[[], float | None]) -> Caller:
        """See `Identity`.

        Raises:
            InvalidArgument: The user's id is none.
        """
        if credentials.user_id is None:
            return Caller(LOCAL_USER, time_left)
        user_id = credentials.user_id
        if not user_id.strip() or len(user_id) > MAX_USER_ID_LENGTH or "\0" in user_id:
            raise invalid_field(
                f"metadata {USER_ID_KEY}",
                f"must be 1 to {MAX_USER_ID_LENGTH} characters, not all white space, without NUL",
            )
        return Caller(user_id, time_left)
