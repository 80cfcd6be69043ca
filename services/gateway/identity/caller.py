"""Whoever waits for an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from services.rpc.errors import invalid_field
from services.rpc.request_rules import MAX_USER_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

LOCAL_USER = "local"
"""Who calls where nobody has to say it."""


class Role(StrEnum):
    """What a caller may do."""

    USER = "user"
    """All that `ChatService` offers, with what is their own."""
    ADMIN = "admin"
    """The same, also for any other user."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who waits for an answer, and how long."""

    user_id: str
    """Whose conversations these are: of an admin who calls for a user, that user."""
    time_left: Callable[[], float | None]
    """Returns the seconds that the next call to a service may take, or None; raises DeadlineExceeded where none are
    left."""
    role: Role = Role.USER


def check_user_id(user_id: str, field: str) -> str:
    """Returns a user's id.

    Args:
        user_id: What was given.
        field: Where, for the error.

    Raises:
        InvalidArgument: It is none.
    """
    if not user_id.strip() or len(user_id) > MAX_USER_ID_LENGTH or "\0" in user_id:
        raise invalid_field(field, f"must be 1 to {MAX_USER_ID_LENGTH} characters, not all white space, without NUL")
    return user_id
