"""Who calls, and how long it waits.

A caller names itself in the metadata `x-user-id-bin` (UTF-8); without it, it is the one local user. The name is
trusted: the gateway listens on loopback, or behind something that has checked who calls and sets the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.rpc.deadlines import time_left
from services.rpc.errors import invalid_field
from services.rpc.request_rules import MAX_USER_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.rpc.interceptor import Context

USER_ID_KEY = "x-user-id-bin"
LOCAL_USER = "local"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who waits for an answer."""

    user_id: str
    time_left: Callable[[], float | None]
    """Returns the seconds that the next call to a service may take, or None; raises DeadlineExceeded where none are
    left."""


def caller_of(context: Context) -> Caller:
    """Returns who makes a call.

    Raises:
        InvalidArgument: As `user_of`.
    """
    return Caller(user_of(context), lambda: time_left(context))


def user_of(context: Context) -> str:
    """Returns the id of the calling user.

    Raises:
        InvalidArgument: The metadata holds no usable id.
    """
    values = [value for key, value in context.invocation_metadata() or () if key == USER_ID_KEY]
    if not values:
        return LOCAL_USER
    if len(values) > 1:
        raise invalid_field(f"metadata {USER_ID_KEY}", "must be given once")
    value = values[0]
    try:
        user_id = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise invalid_field(f"metadata {USER_ID_KEY}", "must be valid UTF-8") from None
    if not user_id.strip() or len(user_id) > MAX_USER_ID_LENGTH or "\0" in user_id:
        raise invalid_field(
            f"metadata {USER_ID_KEY}",
            f"must be 1 to {MAX_USER_ID_LENGTH} characters, not all white space, without NUL",
        )
    return user_id
