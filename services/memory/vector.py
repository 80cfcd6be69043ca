"""What the store and the index say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from services.memory.terms import RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class StoredVector(NamedTuple):
    """What one message is found by, and what searches filter by.

    Attributes:
        position: Place in the user's log of vectors.
        vector: Little-endian half floats, of unit length; of zeros where the message could not be embedded; empty where
            it has yet to be embedded by this embedder.
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
class LogStretch:
    """Messages that follow one another in a user's log: columns, for thousands are read at once.

    The reader's to keep, and but for terms to change.

    Attributes:
        message_ids: Of each message, as all that is not said to be otherwise.
        positions: Places in the log.
        conversations: Ids.
        sequences: Places in the conversations.
        roles: As numbers.
        authors: None: nobody is named.
        times: Nanoseconds since 1970.
        stored: Whether it has a vector; others have yet to be embedded by this embedder.
        vectors: Of those that have one, a row each: of unit length; of zeros where the message could not be embedded.
        term_counts: Of different terms.
        terms: Of all messages, those of one after those of another; see `terms.pack_terms`.
    """

    message_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    conversations: Sequence[str]
    sequences: NDArray[np.int64]
    roles: NDArray[np.int8]
    authors: Sequence[str | None]
    times: NDArray[np.int64]
    stored: NDArray[np.bool_]
    vectors: NDArray[np.float16]
    term_counts: NDArray[np.int64]
    terms: NDArray[np.void]

    @classmethod
    def of(cls, rows: Sequence[StoredVector]) -> LogStretch:
        """Returns rows as columns."""
        ids, positions, conversations, sequences, roles, authors, times, vectors, terms = (
            zip(*rows, strict=True) if rows else ((),) * 9
        )
        stored = np.array([bool(one) for one in vectors], dtype=np.bool_)
        return cls(
            np.array(ids, dtype=np.int64),
            np.array(positions, dtype=np.int64),
            conversations,
            np.array(sequences, dtype=np.int64),
            np.array(roles, dtype=np.int8),
            authors,
            np.array(times, dtype=np.int64),
            stored,
            half_rows(b"".join(vectors), int(np.count_nonzero(stored))).copy(),
            np.array([len(one) // RECORD.itemsize for one in terms], dtype=np.int64),
            np.frombuffer(b"".join(terms), dtype=RECORD),
        )

    def __len__(self) -> int:
        return len(self.message_ids)

    def chosen(self, among: NDArray[np.bool_]) -> LogStretch:
        """Returns those messages that are marked."""
        places = np.flatnonzero(among).tolist()
        return LogStretch(
            self.message_ids[among],
            self.positions[among],
            [self.conversations[i] for i in places],
            self.sequences[among],
            self.roles[among],
            [self.authors[i] for i in places],
            self.times[among],
            self.stored[among],
            self.vectors[among[self.stored]],
            self.term_counts[among],
            self.terms[np.repeat(among, self.term_counts)],
        )


def half_rows(numbers: bytes, count: int) -> NDArray[np.float16]:
    """Returns so many rows of equal length out of little-endian half floats, not to be written to."""
    rows: NDArray[np.float16] = np.frombuffer(numbers, dtype="<f2").reshape(count, -1 if count else 0)
    return rows


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

    def precedes(self, other: UserLog) -> bool:
        """Returns whether the other only goes on where this one ends."""
        return self.deletion_counter == other.deletion_counter and self.last_position < other.last_position


@dataclass(frozen=True, slots=True)
class Standing:
    """What a search has to know of a user before it can be exact.

    Attributes:
        log: How far their vectors have come; None where there never was one.
        last_awaited: Id of their newest message that nothing is found by yet; None where there is none.
    """

    log: UserLog | None
    last_awaited: int | None


@dataclass(frozen=True, slots=True)
class LogWanted:
    """What is to be read of a user's log of vectors.

    Attributes:
        embedder: Whose vectors. Among them are messages that wait for this one's and have another's, or none: with
            their words alone, so that they are found by those meanwhile.
        known: How far it is known. Nothing follows where something has been taken out since. None: not at all.
        limit: Most messages.
        conversation_id: Must be the user's, where set.
    """

    embedder: str
    known: UserLog | None
    limit: int
    conversation_id: str | None = None
