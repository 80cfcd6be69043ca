"""What the store and the index say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class StoredVector(NamedTuple):
    """What one message is found by, and what searches filter by: a row as it is read, for thousands are at once.

    Attributes:
        position: Place in the user's log of vectors.
        vector: Little-endian half floats, of unit length; of zeros where the message could not be embedded; empty where
            it has yet to be embedded anew.
        terms: What `terms.pack_terms` gives.
    """

    message_id: int
    position: int
    conversation_id: str
    sequence: int
    role: int
    author: str | None
    create_ns: int
    vector: bytes
    terms: bytes


@dataclass(frozen=True, slots=True)
class NewVector:
    """What one message is found by, as for `StoredVector`, to be stored."""

    vector: bytes
    terms: bytes


@dataclass(frozen=True, slots=True)
class UnembeddedMessage:
    """A message that waits for its vector. `create_ns` is nanoseconds since 1970."""

    message_id: int
    user_id: str
    content: str
    author: str | None
    create_ns: int


@dataclass(frozen=True, slots=True)
class UserLog:
    """How far a user's log of vectors has come, and how often something was taken out of it."""

    last_position: int
    deletion_counter: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a search has to know of a user before it can be exact.

    Attributes:
        log: How far their vectors have come; None where there never was one.
        last_awaited: Id of their newest message without any vector; None where all have one.
    """

    log: UserLog | None
    last_awaited: int | None
