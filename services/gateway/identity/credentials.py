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

USER_ID_HEADER = "x-user-id"
"""HTTP header that names a user, in UTF-8."""

AUTHORIZATION_KEY = "authorization"
"""Metadata and header that carry a key or a token, as `Bearer …`."""


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
        return cls._said(metadata, USER_ID_KEY, "metadata")

    @classmethod
    def of_headers(cls, headers: Iterable[tuple[bytes, bytes]]) -> Credentials:
        """Returns what an HTTP request's headers say, their names in lower case.

        Raises:
            InvalidArgument: Something is said twice, or the user is none.
        """
        return cls._said(((name.decode("latin-1"), value) for name, value in headers), USER_ID_HEADER, "header")

    @classmethod
    def _said(cls, said: Iterable[tuple[str, str | bytes]], user_key: str, kind: str) -> Credentials:
        of_us = [(key, value) for key, value in said if key in {user_key, AUTHORIZATION_KEY}]
        user_id = _only(of_us, user_key, kind)
        authorization = _only(of_us, AUTHORIZATION_KEY, kind)
        return cls(
            user_id=None if user_id is None else check_user_id(user_id, f"{kind} {user_key}"),
            bearer=None if authorization is None else _bearer(authorization),
        )


def _bearer(authorization: str) -> str | None:
    """Returns the key or token of an `Authorization` header (RFC 6750); None where it is of another scheme."""
    scheme, _, shown = authorization.strip().partition(" ")
    return shown.strip() or None if scheme.lower() == "bearer" else None


def _only(said: Iterable[tuple[str, str | bytes]], key: str, kind: str) -> str | None:
    values = [value for name, value in said if name == key]
    if len(values) > 1:
        raise invalid_field(f"{kind} {key}", "must be given once")
    try:
        return next((value.decode() if isinstance(value, bytes) else value for value in values), None)
    except UnicodeDecodeError:
        raise invalid_field(f"{kind} {key}", "must be valid UTF-8") from None
