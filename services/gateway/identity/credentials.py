"""What a call says of who makes it, before anybody has believed it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.gateway.identity.caller import check_user_id
from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterable

USER_ID_KEY = "x-user-id-bin"
"""gRPC metadata that names a user, in UTF-8."""

AUTHORIZATION_KEY = "authorization"
"""gRPC metadata that carries a key or a token, as `Bearer …`."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call says of who makes it."""

    user_id: str | None
    """The user it says it is made for; None: it does not say."""
    bearer: str | None = field(default=None, repr=False)
    """The API key or token it shows; None: none."""

    @classmethod
    def of_metadata(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Credentials:
        """Returns what a gRPC call's metadata says.

        Raises:
            InvalidArgument: Something is said twice, or the user is none.
        """
        said = [(key, value) for key, value in metadata if key in {USER_ID_KEY, AUTHORIZATION_KEY}]
        user, authorization = _only(said, USER_ID_KEY), _only(said, AUTHORIZATION_KEY)
        return cls(
            user_id=None if user is None else check_user_id(_text(user, USER_ID_KEY), f"metadata {USER_ID_KEY}"),
            bearer=None if authorization is None else bearer_of(_text(authorization, AUTHORIZATION_KEY)),
        )


def bearer_of(authorization: str) -> str | None:
    """Returns the key or token of an `Authorization` header (RFC 6750); None where it is of another scheme."""
    scheme, _, shown = authorization.strip().partition(" ")
    return shown.strip() or None if scheme.lower() == "bearer" else None


def _only(said: Iterable[tuple[str, str | bytes]], key: str) -> str | bytes | None:
    values = [value for name, value in said if name == key]
    if len(values) > 1:
        raise invalid_field(f"metadata {key}", "must be given once")
    return values[0] if values else None


def _text(value: str | bytes, key: str) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise invalid_field(f"metadata {key}", "must be valid UTF-8") from None
