"""What the store and the index say to each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredVector:
    """One vector and what searches filter by.

    Attributes:
        position: Place in the user's log of vectors.
        vector: Little-endian half floats, of unit length.
    """

    message_id: int
    position: int
    conversation_id: str
    sequence: int
    role: int
    author: str | None
    create_ns: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class UnembeddedMessage:
    """A message that waits for its vector."""

    message_id: int
    user_id: str
    content: str


@dataclass(frozen=True, slots=True)
class UserLog:
    """How far a user's log of vectors has come, and how often something was taken out of it."""

    last_position: int
    deletion_counter: int
